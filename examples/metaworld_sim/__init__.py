"""The simulated scenes behind `examples/collect_metaworld.py`: two MetaWorld tasks, scripted experts
that succeed or fail on purpose, and questions answered from the simulator's own state.

Needs the extra `sim` (metaworld, mujoco); nothing in the library imports this folder.
"""
