"""What is trained, and how the model is restored afterwards.

Reading order: `contract` (what each of them does), `digest` (a base model's name), `embeddings` (the new tokens'
vectors), `lora` (low-rank additions), `full` (copies of the weights).
"""
