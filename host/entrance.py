"""What a node receives, checked once before it runs: links and the API can bring values that no widget would.

Host contracts, ComfyUI 0.33.0: `execution.validate_inputs` checks the bounds of typed-in numbers, but not of linked
ones, and nothing of a value that is typed into a socket of a model; a link of any type (`*`) fits every socket;
`_io.ComfyNode.EXECUTE_NORMALIZED` is what the executor calls; `_io.NodeOutput.args` are the values of its outputs;
`model_management.intermediate_device` is where nodes put pictures, masks and latents.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor

from ..scenescope.attention.act.region import RegionTrack
from ..scenescope.attention.act.steer import Steering
from ..scenescope.attention.record.recording import Recording
from ..scenescope.errors import InputError
from ..scenescope.training.learned.concepts import Concepts
from ..scenescope.training.scene.scene import Scene
from ..scenescope.training.settings import Settings
from .recording.runs import RecordedRuns

_LONGEST = 100_000  # characters of a text


def guard(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """Let a node class check what the host hands it, and compute on the CPU with it; returns the class.

    With `--gpu-only` the host hands pictures and masks over on the GPU, with `--fp16-intermediates` in half precision.
    They are brought to the CPU in single precision, where all drawing is, and what the node gives goes to where the
    host's own nodes put theirs. What is passed on stays what it was.
    """
    inner = node.EXECUTE_NORMALIZED.__func__
    schema = node.define_schema()
    own = set(inspect.signature(node.validate_inputs).parameters)  # what the node checks before it runs
    known = {socket.id for socket in schema.inputs}

    def entrance(cls: Any, *args: Any, **inputs: Any) -> Any:
        for name in inputs.keys() - known:
            raise InputError(
                f"{schema.display_name}: this node has no input {name[:80]!r}. Remove it from the prompt; the inputs "
                f"are {', '.join(sorted(known))}."
            )
        check_inputs(schema.display_name, [each for each in schema.inputs if each.id not in own], inputs)
        near = {name: on_cpu(value) for name, value in inputs.items()}
        passed_on = {id(near[name]): value for name, value in inputs.items() if near[name] is not value}
        output = inner(cls, *args, **near)
        output.args = tuple(passed_on.get(id(value), _as_the_hosts(value)) for value in output.args)
        return output

    node.EXECUTE_NORMALIZED = classmethod(entrance)
    return node


def on_cpu(value: Any) -> Any:
    """Bring a picture, a mask, or several by name, to the CPU in float32; a latent stays where it is."""
    if isinstance(value, Tensor):
        near = value.cpu()  # device first, then type: both at once can give wrong numbers on Apple's GPUs
        return near.float() if near.is_floating_point() else near
    if isinstance(value, dict) and "samples" not in value:
        return {name: on_cpu(part) for name, part in value.items()}
    return value


def _as_the_hosts(value: Any) -> Any:
    return value.to(comfy.model_management.intermediate_device()) if isinstance(value, Tensor) else value


def check_inputs(who: str, sockets: list[Any], inputs: Mapping[str, Any]) -> None:
    """Refuse values that their sockets can't take.

    Args:
        who: the node's name.
        sockets: the schema's inputs.
        inputs: values by id; of a widget that brings others, and of one that grows, a mapping.

    Raises:
        InputError: one is missing, of another type, or out of bounds; the message names it.
    """
    for socket in sockets:
        name, value = socket.id, inputs.get(socket.id)
        if value is None:
            if not socket.optional:
                raise InputError(f"{who}: {name} is missing. Connect it, or choose a value.")
        elif isinstance(socket, io.Autogrow.Input):
            _check_grown(who, socket, value)
        elif isinstance(socket, io.DynamicCombo.Input):
            _check_chosen(who, socket, value)
        else:
            _check_one(who, socket, name, value)


def _check_grown(who: str, socket: Any, value: Any) -> None:
    if not isinstance(value, Mapping):
        _refuse(who, socket.id, _named(value), "masks by name", "Connect them to the node's sockets.")
    for name, part in value.items():
        if part is not None:
            _check_one(who, socket.template.input, f"{socket.id}.{name}", part)


def _check_chosen(who: str, socket: Any, value: Any) -> None:
    options = {option.key: option.inputs for option in socket.options}
    key = value.get(socket.id) if isinstance(value, Mapping) else value
    if not isinstance(key, str) or key not in options:
        _refuse(who, socket.id, _named(key), f"one of {', '.join(options)}", "Choose one of them.")
    check_inputs(who, options[key], value if isinstance(value, Mapping) else {})


def _check_one(who: str, socket: Any, name: str, value: Any) -> None:
    kind = socket.io_type
    if isinstance(socket, io.Combo.Input):
        options = list(socket.options or ())
        if not any(type(value) is type(option) and value == option for option in options):
            shown = ", ".join(map(str, options[:12])) + (", ..." if len(options) > 12 else "")
            _refuse(who, name, _named(value), f"one of {shown}", "Choose one of them.")
    elif kind in ("INT", "FLOAT"):
        _check_number(who, socket, name, value)
    elif kind in _KINDS:
        wanted, fits = _KINDS[kind]
        if not fits(value):
            _refuse(who, name, _named(value), wanted, "Connect something else.")


def _check_number(who: str, socket: Any, name: str, value: Any) -> None:
    whole = socket.io_type == "INT"
    low, high = socket.min, socket.max
    bounds = f"{'a whole number' if whole else 'a number'} from {low} to {high}"
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    fits = number and (whole or math.isfinite(value)) and (low is None or value >= low)
    if not fits or (high is not None and value > high):
        _refuse(who, name, _named(value), bounds, "Correct it, or what is connected to it.")


def _is_picture(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.shape[-1] in (1, 3, 4) and value.numel() > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST


def _is_mask(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim in (2, 3, 4) and value.numel() > 0


def _is_boxes(value: Any) -> bool:
    if isinstance(value, Mapping):
        sides = [value.get(name) for name in ("x", "y", "width", "height")]
        return all(isinstance(side, (int, float)) and math.isfinite(side) for side in sides)
    return isinstance(value, (list, tuple)) and all(map(_is_boxes, value))


def _is_steering(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, Steering) for each in value)


def _is_latent(value: Any) -> bool:
    return isinstance(value, Mapping) and hasattr(value.get("samples"), "shape") and 0 not in value["samples"].shape


def _is_conditioning(value: Any) -> bool:
    pairs = isinstance(value, list) and all(isinstance(item, (list, tuple)) and len(item) == 2 for item in value)
    return pairs and all(isinstance(tensor, Tensor) and isinstance(more, dict) for tensor, more in value)


def _has(*names: str) -> Callable[[Any], bool]:
    """By what it can do, because other packs pass models of their own classes."""
    return lambda value: all(hasattr(value, name) for name in names)


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "STRING": (f"a text of at most {_LONGEST} characters", _is_text),
    "BOOLEAN": ("true or false", _is(bool)),
    "MODEL": ("a MODEL", _has("model", "model_options", "clone")),
    "CLIP": ("a CLIP", _has("tokenize", "clone", "cond_stage_model")),
    "VAE": ("a VAE", _has("encode", "decode")),
    "CONDITIONING": ("a CONDITIONING", _is_conditioning),
    "LATENT": ("a LATENT", _is_latent),
    "IMAGE": ("pictures (number, height, width, channels)", _is_picture),
    "MASK": ("masks (number, height, width)", _is_mask),
    "COMFY_MATCHTYPE_V3": ("a LATENT or an IMAGE", lambda value: _is_latent(value) or _is_picture(value)),
    "BOUNDING_BOX": ("boxes with x, y, width and height", _is_boxes),
    "SCENESCOPE_RECORDER": ("a RECORDER", _is(RecordedRuns)),
    "SCENESCOPE_ATTENTION_MAPS": ("ATTENTION_MAPS", _is(Recording)),
    "SCENESCOPE_SCENE": ("a SCENE", _is(Scene)),
    "SCENESCOPE_CONCEPTS": ("CONCEPTS", _is(Concepts)),
    "SCENESCOPE_SETTINGS": ("SETTINGS", _is(Settings)),
    "SCENESCOPE_REGION": ("a REGION", _is(RegionTrack)),
    "SCENESCOPE_STEERING": ("STEERING", _is_steering),
}


def _named(value: Any) -> str:
    """A value as a message can show it: numbers and texts themselves, if they are short."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, int) and value.bit_length() > 100:
        return f"a number of about {round(value.bit_length() * 0.30103)} digits"
    if isinstance(value, (bool, int, float, str)):
        return repr(value)[:80]
    return f"of the type {type(value).__name__}"


def _refuse(who: str, name: str, got: str, wanted: str, advice: str) -> None:
    raise InputError(f"{who}: {name} is {got}, but it has to be {wanted}. {advice}")
