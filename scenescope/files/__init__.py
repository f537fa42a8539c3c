"""Files: safetensors and JSON, read with every check and written aside, then moved into place.

Reading order: `atomic` (written completely or not at all),
`safetensors_file` (tensors and a header), `dataclass_json` (a dataclass as JSON and back),
`dataclass_file` (a dataclass with tensors in one file).
"""
