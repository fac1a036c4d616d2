"""The steps behind scripts/build_joint_prior.py: questions, endpoint, answers, sentence encoder."""
