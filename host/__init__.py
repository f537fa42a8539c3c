"""The adapter: the only ring, besides the sockets, that imports the host.

Host contracts relied on, at ComfyUI 0.33.0 (supported from 0.25.0):

| contract | file, symbol | used in |
|---|---|---|
| wrappers nest around sampling, conditioning and the model call | `comfy/patcher_extension.py` `WrappersMP` | `unet.py` |
| the model call's arguments: x, t, c_concat, c_crossattn, control, transformer_options | `comfy/model_base.py` `BaseModel.apply_model` | `unet.py` |
| index 0 of the conditionings is the positive, 1 the negative; a call names its rows in `cond_or_uncond` and `uuids` | `comfy/samplers.py` `_calc_cond_batch` | `unet.py` |
| prompts of different length in one call are repeated to their least common multiple | `comfy/conds.py` `CONDCrossAttn.concat` | `unet.py` |
| the sampler calls back once a step with its index | `comfy/samplers.py` `KSAMPLER.sample` | `unet.py` |
"""
