"""Results of a bench of acting: kept at once, taken up again, apart for each model."""

from __future__ import annotations

import argparse
import json

from pack.benchmarks.acting.cases import Cases, cases_of, shared_arguments, table


def test_a_bench_that_was_broken_off_goes_on_with_what_is_missing(tmp_path):
    """Oracle: by hand: of three cases two were done, the second of them without any figure."""
    file = tmp_path / "deep" / "bench.json"
    first = Cases(file)
    for name in first.missing(["a 0", "a 1", "a 2"]):
        if name == "a 2":
            break
        first.add(name, [["plain", {"IoU": 0.5}], ["plain", {"IoU": 1.0}]] if name == "a 0" else [])
    assert list(json.loads(file.read_text("utf-8"))) == ["a 0", "a 1"]
    again = Cases(file)
    assert list(again.missing(["a 0", "a 1", "a 2"])) == ["a 2"]
    assert again.arms(["a 0", "a 1"]) == {"plain": {"IoU": [0.5, 1.0]}}
    assert "| plain | 0.750 (2: " in table(again.arms(["a 0"]))


def test_results_of_another_model_are_kept_apart(tmp_path):
    """Oracle: one name for equal bytes, another for others."""
    reader = argparse.ArgumentParser()
    shared_arguments(reader, 100)
    files = []
    for at, content in enumerate((b"one", b"two", b"one")):
        model = tmp_path / f"{at}.safetensors"
        model.write_bytes(content)
        files.append(cases_of("bench", reader.parse_args(["--model", str(model), "--folder", str(tmp_path)])).file)
    assert files[0] == files[2] != files[1]
    assert {file.parent for file in files} == {tmp_path}
