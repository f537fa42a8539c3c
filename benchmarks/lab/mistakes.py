"""Mistakes that would show on a GPU alone, to be planted one at a time: what is changed, and which tests should see it.

Lines that have changed since are told as "not planted".
"""

from __future__ import annotations

from dataclasses import dataclass

COPIES, REDUCERS = "scenescope/host_copies.py", "scenescope/attention/record/reducers.py"
RECORDER, SCORES = "scenescope/attention/record/recorder.py", "scenescope/attention/record/scores.py"
PAIRS, REPLAY = "scenescope/attention/record/pairs.py", "scenescope/attention/act/replay.py"
REGION, STEER = "scenescope/attention/act/region.py", "scenescope/attention/act/steer.py"
OBJECTIVE, TRAINER = "scenescope/training/step/objective.py", "scenescope/training/run/trainer.py"
OPTIMISER, SMALL = "scenescope/training/run/optimiser.py", "scenescope/training/run/small_moments.py"
LORA, TEXT = "scenescope/training/weights/lora.py", "host/training/text_encoder.py"
MODELS, SAMPLES = "host/training/models.py", "host/training/samples.py"

CROSS = ("test_recording.py", "once_at_most and cross")
POOLED = ("test_recording.py", "once_at_most and pooled")
FULL_SIZE = ("test_full_size.py", "pooled")
OF_REGION = ("test_recording.py", "once_at_most and region")
LIVE = ("test_acting.py", "live_region")
STEERED, REPLAYED = ("test_acting.py", "a_steered_step"), ("test_acting.py", "a_replayed_step")
ACTED = ("test_acting.py", "recorded_with and placed")
MIXED = ("test_acting.py", "live_region and mixed")
TRAINED = ("test_training.py", "twice_at_most and float32")
HALF = ("test_training.py", "twice_at_most and lora and float16")
RESUMED = ("test_training.py", "broken_off and lora and 1")
WHOLE, WHOLE_RESUMED = ("test_training.py", "twice_at_most and full"), ("test_training.py", "broken_off and full")
USED = ("test_training.py", "(twice_at_most and float32) or samples_saves")
ENTRANCE = ("test_gpu_only.py", "overlay")
FOUND_RUN = ("test_gpu_only.py", "found_by_its_latent")


@dataclass(frozen=True)
class Mistake:
    """A mistake to plant.

    Args:
        name: what is wrong then.
        file: which file of the pack.
        old: text that stands in it.
        new: what stands there instead.
        tests: a file of the rehearsal, and pytest's expression for the tests in it.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, str]


MISTAKES = (
    Mistake("maps stay on the device", COPIES, 'self._value.device.type == "cpu"', "self._value.numel() > 0", CROSS),
    Mistake("a copy is read before it has arrived", COPIES, "self._event.synchronize()", "pass", CROSS),
    Mistake(
        "the copies' stream does not wait for the one that computes", COPIES,
        "stream.wait_stream(module.current_stream(packed.device))", "pass", CROSS,
    ),
    Mistake("constants stay on the CPU (pooling)", REDUCERS, "make().to(maps)", "make().to(maps.dtype)", POOLED),
    Mistake("constants stay on the CPU (region)", REDUCERS, "make().to(maps)", "make().to(maps.dtype)", OF_REGION),
    Mistake("constants are uploaded in each layer", REDUCERS, "if at not in self._kept:", "if at:", POOLED),
    Mistake(
        "a value is read in each layer", RECORDER, "            acts = bias if self._selection.steered",
        "            assert not bool(query.isnan().any())\n            acts = bias if self._selection.steered", CROSS,
    ),
    Mistake(
        "the last query is not computed", SCORES, "min(start + rows, query.shape[1])",
        "min(start + rows, query.shape[1] - 1)", CROSS,
    ),
    Mistake(
        "each map is waited for by itself", COPIES, "        incoming = Incoming(tensor)\n",
        "        incoming = Incoming(tensor.cpu())\n", CROSS,
    ),
    Mistake("word means stay on the CPU", REGION, "entry.tokens).to(pair.query.device)", "entry.tokens)", LIVE),
    Mistake(
        "word means are uploaded in each step", REGION,
        "if self._means is None or self._means.device != pair.query.device:", "if self is not None:", LIVE,
    ),
    Mistake(
        "a live region's layers are looked at one by one", REGION, "for group in by_size(waiting):",
        "for group in [[seen] for seen in waiting]:", LIVE,
    ),
    Mistake(
        "the live region is read in each step", REGION, "track.steps[self._step] = self._margins\n",
        "track.steps[self._step] = self._margins.cpu()\n", LIVE,
    ),
    Mistake(
        "the region stays on the device", REGION, "to_host(list(track.steps.values()))",
        "list(track.steps.values())", LIVE,
    ),
    Mistake(
        "a region stays on the GPU of several that answered", REGION,
        "margins if device is None else margins.to(device)", "margins", ("test_acting.py", "of_several"),
    ),
    Mistake(
        "shares stay on the device", STEER, "to_host([share for seen in self._seen.values() for share, _ in seen])",
        "share for seen in self._seen.values() for share, _ in seen", STEERED,
    ),
    Mistake(
        "odds of 0 lie on the CPU, so that each layer is looked at alone", PAIRS, "there[0].new_zeros(())",
        "torch.zeros(())", ACTED,
    ),
    Mistake("steered layers are looked at alone", RECORDER, "if gains(query) and self._can_be_joined",
            "if acts is None and gains(query) and self._can_be_joined", ACTED),
    Mistake("self-attention is looked at layer by layer", REDUCERS, "* row_bytes * 8 > self._chunk_bytes",
            "* row_bytes > 0", POOLED),
    Mistake(
        "queries of layers that are looked at together are lost", RECORDER,
        "queries=self._keeps_queries(group[0].layer.kind)", "queries=False",
        ("test_recording.py", "once_at_most and queries"),
    ),
    Mistake(
        "what is drawn goes over one by one", OBJECTIVE, "to_device(here, self._latents.device)\n        goals",
        "[part.to(self._latents.device) for part in here]\n        goals", TRAINED,
    ),
    Mistake(
        "masks stay on the CPU", OBJECTIVE, "        goals = more[len(outside) :]\n",
        "        union = here[0]\n        goals = more[len(outside) :]\n", TRAINED,
    ),
    Mistake(
        "goals stay on the CPU", OBJECTIVE, "        goals = more[len(outside) :]\n",
        "        goals = self._goals_of(items)\n", TRAINED,
    ),
    Mistake(
        "losses and maps are read one by one", OBJECTIVE, "read = to_host([*numbers, *self.maps])",
        "read = [part.cpu() for part in (*numbers, *self.maps)]", TRAINED,
    ),
    Mistake(
        "rows are printed in each step", OBJECTIVE, "        backward(totals[0])\n",
        "        backward(totals[0])\n        [float(one[0].detach()) for one in embeddings.values()]\n", TRAINED,
    ),
    Mistake(
        "the gradient's length is read apart", TRAINER,
        "        measured, (*totals, length) = costs.read(self._optimiser.norm())",
        "        float(self._optimiser.norm()), float(self._optimiser.norm())\n"
        "        measured, (*totals, length) = costs.read(self._optimiser.norm())", TRAINED,
    ),
    Mistake(
        "the CPU's autocast", OBJECTIVE, "torch.autocast(kind,", 'torch.autocast("cpu",', HALF
    ),
    Mistake("rows stay on the CPU", TRAINER, "return embeddings.to(self._device)", "return embeddings", TRAINED),
    Mistake(
        "learned rows stay on the device", TRAINER, 'self._embeddings.detach().to("cpu", copy=True)',
        "self._embeddings.detach().clone()", TRAINED,
    ),
    Mistake(
        "restored moments stay on the CPU", OPTIMISER, "moment.to(parameter.device, torch.float32)",
        "moment.to(torch.float32)", RESUMED,
    ),
    Mistake(
        "restored counts stay on the CPU", OPTIMISER, "place = parameter.device if", 'place = "cpu" if', RESUMED,
    ),
    Mistake(
        "one kernel for each parameter", OPTIMISER, "fused=self._fused,", "fused=False,", TRAINED,
    ),
    Mistake("additions are cast one by one", LORA, "if dtype != torch.float32:", "if dtype == torch.float64:", HALF),
    Mistake("additions are made on the CPU", LORA, "*shape[2:]), device=device)", "*shape[2:]))", TRAINED),
    Mistake(
        "learned additions stay on the device", LORA, 'return tensor.detach().to("cpu", copy=True)',
        "return tensor.detach().clone()", TRAINED,
    ),
    Mistake("prompts are uploaded in each step", TEXT, "if key not in self._uploaded:", "if key:", TRAINED),
    Mistake(
        "tokens stay on the CPU", TEXT, "torch.tensor([key], device=table.weight.device)", "torch.tensor([key])",
        TRAINED,
    ),
    Mistake(
        "the text encoder stays on the CPU", MODELS, "prepare(copy.model, clip.cond_stage_model, device,",
        "prepare(copy.model, clip.cond_stage_model, model.offload_device,", TRAINED,
    ),
    Mistake(
        "encoded pictures stay on the CPU", MODELS, "latents.to(device, torch.float32, copy=True)",
        "latents.to(torch.float32, copy=True)", TRAINED,
    ),
    Mistake("the noise of samples stays on the CPU", SAMPLES, "noise.to(device), ports", "noise, ports", USED),
    Mistake("timesteps of samples stay on the CPU", SAMPLES, "place, device=device)", "place)", USED),
    Mistake(
        "pictures stay where they came", "host/entrance.py", "near = value.cpu()", "near = value", ENTRANCE,
    ),
    Mistake(
        "a run's latent stays on the device", "host/recording/runs.py", "output.detach().cpu().clone()",
        "output.detach().clone()", FOUND_RUN,
    ),
    Mistake(
        "one more launch in each layer", RECORDER, "            acts = bias if self._selection.steered",
        "            query = query + 0\n            acts = bias if self._selection.steered", CROSS,
    ),
    Mistake(
        "each layer is looked at alone", PAIRS, "groups.setdefault(seen.size, [])",
        "groups.setdefault(id(seen), [])", CROSS,
    ),
    Mistake("the rounding of small moments is made on the CPU", SMALL, "torch.arange(BLOCK, device=device,",
            "torch.arange(BLOCK,", WHOLE),
    Mistake("the row of gradients is filled up on the CPU", SMALL, "torch.zeros(room, device=self.device)",
            "torch.zeros(room)", WHOLE),
    Mistake("restored small moments stay on the CPU", SMALL, '[f"{name} {kind}"].to(group.device)',
            '[f"{name} {kind}"]', WHOLE_RESUMED),
    Mistake(
        "each weight's gradient is measured by itself", SMALL,
        "        self._gradients[name] = gradient.to(self._dtype)",
        "        float(gradient.norm())\n        self._gradients[name] = gradient.to(self._dtype)", WHOLE,
    ),
    Mistake(
        "the VAE is moved outside of inference mode", MODELS, "with torch.inference_mode():  # contract",
        "with torch.no_grad():  # contract", TRAINED,
    ),
    Mistake(
        "samples are decoded outside of inference mode", SAMPLES, "@torch.inference_mode()  # contract",
        "@torch.no_grad()  # contract", USED,
    ),
    Mistake("maps in the making are small pieces", "host/recording/unet.py", "CHUNK_BYTES * 32", "CHUNK_BYTES",
            FULL_SIZE),
    Mistake("constants are uploaded in each layer at full size", REDUCERS, "if at not in self._kept:", "if at:",
            FULL_SIZE),
    Mistake(
        "replayed queries come from memory that is not pinned", COPIES, "torch.cat(list(pieces), out=pinned)",
        "torch.cat(list(pieces))", REPLAYED,
    ),
    Mistake(
        "replayed queries go over layer by layer", REPLAY,
        "        copies.expect(tensor for frame in frames.values() for tensor in frame.tensors)\n", "", REPLAYED,
    ),
    Mistake(
        "columns to replay are uploaded in each layer", REPLAY, "return kept[:, 0], kept[:, 1]",
        "return kept[:, 0].tolist(), kept[:, 1].tolist()", REPLAYED,
    ),
    Mistake(
        "the other prompt is uploaded for each size of layers", "host/acting/region.py",
        "if key not in self._uploaded:", "if key:", MIXED,
    ),
    Mistake(
        "how much a prompt counts is worked out in each layer", "host/acting/region.py", "if key not in self._known:",
        "if key:", MIXED,
    ),
    Mistake(
        "weights of grids are uploaded in each layer", "scenescope/resample.py",
        "@lru_cache(maxsize=256)\ndef _weights_on", "def _weights_on", ("test_acting.py", "another_grid"),
    ),
    Mistake(
        "float64 on the device", MODELS, ".sigmas.cpu().double()", ".sigmas.double().cpu()", TRAINED,
    ),
    Mistake(
        "pictures leave on the CPU", "host/entrance.py", "value.to(comfy.model_management.intermediate_device())",
        "value.cpu()", ("test_every_node.py", "takes_and_gives and DemoScene"),
    ),
    Mistake(
        "class pictures lie on the device", "host/training/class_pictures.py", "ClassPictures(latents[: wish.count],",
        "ClassPictures(latents[: wish.count].to(ports.latents.device),",
        ("test_every_node.py", "takes_and_gives and TrainConcepts"),
    ),
)  # fmt: skip
