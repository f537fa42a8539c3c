"""The adapter: the only ring, besides the sockets, that imports the host.

Host contracts relied on, seen in ComfyUI 0.33.0 (supported from 0.25.0):

unet.py
    `comfy/patcher_extension.py`, `WrappersMP`: wrappers nest around sampling, conditioning and the model call.
    `comfy/model_base.py`, `BaseModel.apply_model`: the order of its arguments, `transformer_options` the sixth.
    `comfy/samplers.py`, `CFGGuider.sample`: a run works on its own copy of the model's options.
    `comfy/samplers.py`, `_calc_cond_batch`: conditioning 0 is the positive, 1 the negative; a call names its rows in
    `cond_or_uncond` and `uuids`; at CFG 1 the negative is left out.
    `comfy/samplers.py`, `KSAMPLER.sample`: the sampler calls back once a step with the step's index.
    `comfy/conds.py`, `CONDCrossAttn.concat`: prompts of different length are repeated to their least common multiple.
    `comfy_api/torch_helpers/torch_compile.py`, `COMPILE_KEY`: how a compiled model is known.
runs.py
    `comfy_execution/utils.py`, `get_executing_context`: the prompt and the node that are running.
screen.py
    `server.py`, `PromptServer.send_progress_text`: a line of text on a node.
sampling.py
    `nodes.py`, `common_ksampler`: the stock sampler.
"""
