"""What the ablation is made of: the ways to train, one trial of one way on one scene, and what all trials say."""
