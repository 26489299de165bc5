"""Episodes: LeRobot datasets (v3.0, v2.1) in. Opening and checking, outcomes, splits, video, frame store.

Start at `open_dataset`; `build_frame_store` gives the pictures. Needs neither lerobot nor torchvision.
"""

from valuecurve.episodes.dataset import EpisodeDataset as EpisodeDataset
from valuecurve.episodes.dataset import open_dataset as open_dataset
from valuecurve.episodes.frame_store import FrameStore as FrameStore
from valuecurve.episodes.frame_store import build_frame_store as build_frame_store
from valuecurve.episodes.layout import Camera as Camera
from valuecurve.episodes.layout import DatasetError as DatasetError
from valuecurve.episodes.outcome_file import read_outcome_csv as read_outcome_csv
from valuecurve.episodes.outcome_file import write_outcomes as write_outcomes
from valuecurve.episodes.outcomes import Outcomes as Outcomes
from valuecurve.episodes.outcomes import resolve_outcomes as resolve_outcomes
from valuecurve.episodes.resampling import resample as resample
from valuecurve.episodes.resampling import select as select
from valuecurve.episodes.selection import episode_numbers as episode_numbers
from valuecurve.episodes.splits import load_split as load_split
from valuecurve.episodes.splits import save_splits as save_splits
from valuecurve.episodes.splits import split_episodes as split_episodes
from valuecurve.episodes.video import decode_video as decode_video
