"""What the Prompt Doctor says: Markdown for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from ...dims import counted
from .diagnosis import Diagnosis, Examined, Finding
from .proof import Proof
from .repair import Placed

FORMAT = 1
CALIBRATED = (
    "Limits were measured on the demo model, whose attention was taught where to look. For other models they are a "
    "first guess: treat a verdict as a hint, and look at the picture."
)


def markdown(diagnosis: Diagnosis, repair: Sequence[Placed], proof: Proof | None = None) -> str:
    """Write the report."""
    lines = ["| thing | verdict | beats the others | most like |", "| --- | --- | --- | --- |"]
    lines += [_row(item) for item in diagnosis.things]
    findings = [finding for item in diagnosis.things for finding in item.findings] + list(diagnosis.others)
    lines += ["", *(f"- **{finding.called}**: {finding.text}{number_and_limit(finding)}" for finding in findings)]
    lines += ["", f"Proof: {proof.text}"] if proof else []
    if diagnosis.early is not None:
        doubted = ", ".join(f"`{text}`" for text in diagnosis.early) or "none"
        lines += ["", f"Already in doubt after the first part of the steps: {doubted}."]
    missing = [f"`{placed.words}`" for placed in repair if placed.missing]
    if missing:
        held = [f"`{placed.words}`" for placed in repair if not placed.missing]
        kept = f"; {', '.join(held)} held in place" if held else ""
        lines += ["", f"Repair: {', '.join(missing)} into free space{kept}. Give it to Steer Words, and sample again."]
    facts = f"{counted(diagnosis.steps, 'step')}, {diagnosis.grid}; the start token takes {diagnosis.start:.0%}."
    lines += ["", f"{facts} {CALIBRATED}"]
    return "\n".join(lines)


def report_json(diagnosis: Diagnosis, repair: Sequence[Placed], proof: Proof | None = None) -> str:
    """Write the report for programs; of the repair's places their shares of the picture."""
    return json.dumps(
        {
            "format": FORMAT,
            "prompt": diagnosis.prompt,
            "things": [
                {
                    "thing": item.thing.text,
                    "noun": item.thing.noun.text,
                    "adjectives": [word.text for word in item.thing.adjectives],
                    "winning": round(item.winning, 4),
                    "most_like": None if item.likest is None else [item.likest[0], round(item.likest[1], 4)],
                    "missing": item.missing,
                    "findings": [_data(finding) for finding in item.findings],
                }
                for item in diagnosis.things
            ],
            "others": [_data(finding) for finding in diagnosis.others],
            "start_share": round(diagnosis.start, 4),
            "steps": diagnosis.steps,
            "grid": diagnosis.grid,
            "early": diagnosis.early,
            "proof": None if proof is None else {**asdict(proof), "shown": proof.shown},
            "repair": [
                {"words": placed.words, "missing": placed.missing, "share": round(float(placed.mask.mean()), 4)}
                for placed in repair
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def _row(item: Examined) -> str:
    kinds = ", ".join(dict.fromkeys(finding.kind for finding in item.findings))
    likest = "" if item.likest is None else f"{item.likest[0]} {item.likest[1]:.2f}"
    winning = f"{item.winning:.0%}" if item.likest is not None else ""
    return f"| {item.thing.text} | {kinds} | {winning} | {likest} |"


def number_and_limit(finding: Finding) -> str:
    """What a verdict rests on, in parentheses; nothing where it rests on no number."""
    return "" if finding.number is None else f" ({finding.number:.2f}, limit {finding.limit:.2f})"


def _data(finding: Finding) -> dict[str, object]:
    number = None if finding.number is None else round(finding.number, 4)
    return {
        "kind": finding.kind,
        "word": finding.word,
        "text": finding.text,
        "number": number,
        "limit": finding.limit,
        "guess": finding.guess,
    }
