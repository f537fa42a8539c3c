"""The adapter: the only ring, besides the sockets, that imports the host.

Reading order: `version` (which host), `core_nodes` (its nodes), `paths` and `files` (names and files from outside),
`entrance` (what a node receives), `editor` (what the editor shows), `watched_runs` (wrappers around a run), `prompts`,
`recording`, `acting`, `training`, `concepts`, and for single nodes `shapes`, `scene` and `demo`.

Host contracts relied on, seen in ComfyUI 0.33.0 (supported from 0.28.0):

watched_runs.py
    `comfy/patcher_extension.py`, `WrappersMP`: wrappers nest around sampling, conditioning and the model call.
    `comfy/model_base.py`, `BaseModel.apply_model`: the order of its arguments, `transformer_options` the sixth.
    `comfy/samplers.py`, `CFGGuider.sample`: a run works on its own copy of the model's options.
    `comfy/samplers.py`, `_calc_cond_batch`: conditioning 0 is the positive, 1 the negative; a call names its rows in
    `cond_or_uncond` and `uuids`; at CFG 1 the negative is left out.
    `comfy/samplers.py`, `KSAMPLER.sample`: the sampler calls back once a step with the step's index.
    `comfy/conds.py`, `CONDCrossAttn.concat`: prompts of different length are repeated to their least common multiple.
    `comfy_api/torch_helpers/torch_compile.py`, `COMPILE_KEY`: how a compiled model is known.
recording/entries.py
    `comfy/sampler_helpers.py`, `convert_cond`: every conditioning has a `uuid`, which its copies keep.
acting/run.py
    `comfy/model_patcher.py`, `set_attachments`: what a MODEL carries goes on to its clones.
    `comfy/ldm/modules/attention.py`, `BasicTransformerBlock.forward`: `to_q`, `to_k`, `to_v`, `to_out`, once each and
    in this order, with and without a replace patch; `optimized_attention_override` in the options.
shapes.py
    `comfy/model_base.py`, `BaseModel.model_config.unet_config`: what the U-Net was built with.
    `comfy/ldm/modules/attention.py`, `wrap_attn`: how an attention override is called.
prompts/text.py
    `comfy/sd.py`, `CLIP.clone`, `tokenize`, `encode_from_tokens`, `encode_from_tokens_scheduled`.
    `comfy/sd1_clip.py`, `SDTokenizer.tokenize_with_weights`, `inv_vocab`; `SDClipModel.process_tokens`.
    `comfy/sampler_helpers.py`, `convert_cond`: unknown entries of a conditioning's dictionary reach the sampler.
concepts/apply.py
    `comfy/sd1_clip.py`, `SDTokenizer._try_get_embedding`: the vectors behind `embedding:name`; a tensor in place of an
    id is taken as it is (`SDClipModel.process_tokens`).
    `comfy/lora.py`, `load_lora`, and `ModelPatcher.add_patches`: weight changes.
recording/about.py
    `comfy/samplers.py`, `ksampler`, `sampler_object`: which samplers make the schedule's steps.
recording/ask.py
    `comfy/samplers.py`, `CFGGuider.sample`, `Sampler`: any sampler runs with MODEL's patches, hooks and injections.
training/copies.py
    `comfy/sd.py`, `load_bypass_lora_for_models`: a LoRA in bypass mode is an injection named `bypass_lora`.
    `comfy/sd1_clip.py`, `SDClipModel.set_clip_options`: which layer of the text encoder is read.
paths.py
    `folder_paths.py`, `get_save_image_path`, `is_within_directory`, `get_directory_by_type`.
scene.py
    `comfy_extras/nodes_painter.py`: the painter's widget is a STRING of `widgetType` PAINTER named `mask`; its value
    names a transparent PNG in the input folder.
    `comfy/sd1_clip.py`, `SDTokenizer.tokenizer`: SD1.5's tokens of a text.
recording/runs.py
    `comfy_execution/utils.py`, `get_executing_context`: the prompt and the node that are running.
editor/messages.py
    `server.py`, `PromptServer.send_progress_text`: a line of text on a node.
recording/sampling.py
    `nodes.py`, `common_ksampler`: the stock sampler.
version.py
    `comfyui_version.py`, `__version__`.
"""
