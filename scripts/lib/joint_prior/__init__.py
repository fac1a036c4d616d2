"""The steps behind scripts/build_joint_prior.py: prompts, endpoint, answers, sentence encoder."""
