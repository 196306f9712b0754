"""Texts agreed beforehand, with gaps: ours, and copies of those a company keeps for us."""
