"""One MetaWorld task in MuJoCo: laying out, stepping, looking, and the truth about what is there.

Physics, success criterion and reward are MetaWorld's own (push-v3, drawer-open-v3). Changed for the
pictures only: colours of puck and fingers, a goal disc as large as the success radius instead of a
small sphere, two cameras close to the workspace, no shadows, no reflections.

Axes (metres): x to the robot's right, y away from the robot, z up. The gripper's fingers close along y.
"""

import atexit
import os

os.environ.setdefault("MUJOCO_GL", "osmesa")  # software rendering: the same pixels with and without a GPU

from collections.abc import Callable  # noqa: E402
from dataclasses import dataclass  # noqa: E402

import mujoco  # noqa: E402
import numpy as np  # noqa: E402
from metaworld.envs.sawyer_drawer_open_v3 import SawyerDrawerOpenEnvV3  # noqa: E402
from metaworld.envs.sawyer_push_v3 import SawyerPushEnvV3  # noqa: E402

CONTROL_HZ = 80  # 5 MuJoCo steps of 2.5 ms, MetaWorld's own
REPEAT = 8  # control steps that one recorded action is held for
FPS = CONTROL_HZ // REPEAT  # 10
METRES_PER_ACTION = 0.01 * REPEAT  # an action of 1 moves the hand's target this far in one frame
STATE_NAMES = ["x", "y", "z", "gripper"]  # metres; gripper opening 0 (closed) … 1 (0.1 m)
ACTION_NAMES = ["dx", "dy", "dz", "grip"]  # MetaWorld's: [-1, 1] each, grip > 0 closes

TASK_TEXTS = {"push": "push the puck to the goal", "drawer": "open the drawer"}
DRAWER_TRAVEL = 0.16  # metres; MetaWorld counts the drawer as open at the end of its travel
GOAL_RADIUS = SawyerPushEnvV3.TARGET_RADIUS

SIDE_CAMERA = ((0.68, 0.66, 0.46), (0.01, 0.69, 0.04), 38.0)  # position, looked-at point, fovy in degrees
FRONT_CAMERA = ((-0.48, 0.33, 0.56), (0.0, 0.69, 0.05), 40.0)
CAMERAS = {"side": ("corner2", SIDE_CAMERA), "front": ("corner3", FRONT_CAMERA)}

PUCK_RGBA = (1.0, 0.85, 0.0, 1.0)
GOAL_RGBA = (0.1, 0.25, 1.0, 1.0)
FINGER_RGBA = (0.92, 0.92, 0.95, 1.0)


@dataclass(frozen=True)
class Truth:
    """What the simulator knows at one moment. Metres; `opening` is 0 … 1 (1: 0.1 m between the claws)."""

    hand: np.ndarray  # [3] point between the finger tips
    opening: float
    target: np.ndarray  # [3] the puck, or the drawer's handle
    goal: np.ndarray  # [3] where it has to go
    held: bool  # push: puck between the fingers; drawer: a finger behind the handle
    drawer: float  # metres the drawer is open (0 for push)
    success: bool
    reward: float

    @property
    def remaining(self) -> float:
        """Metres that the puck, or the drawer's handle, is from where it has to be."""
        return float(np.linalg.norm(self.target - self.goal))


def _look_at(model: mujoco.MjModel, name: str, position, point, fovy: float) -> None:
    """Put the named camera at `position`, looking at `point`, horizon level."""
    back = np.subtract(position, point) / np.linalg.norm(np.subtract(position, point))
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    camera = model.camera(name)
    camera.pos[:], camera.quat[:], camera.fovy[:] = position, quat, fovy
    model.cam_mode[camera.id] = mujoco.mjtCamLight.mjCAMLIGHT_FIXED


class Scene:
    """A task ("push" or "drawer") that can be laid out, stepped at 10 Hz and looked at."""

    def __init__(self, task: str, size: int = 128):
        self.task, self.size = task, size
        self.env = SawyerPushEnvV3() if task == "push" else SawyerDrawerOpenEnvV3()
        self.env._partially_observable = False
        self.env._set_task_called = self.env._freeze_rand_vec = True  # the layout comes from `reset`
        self.env.max_path_length = 10**9  # episodes end where the expert says
        self.model, self.data = self.env.model, self.env.data
        self._dress()
        self._renderer: mujoco.Renderer | None = None

    def _dress(self) -> None:
        for slot, view in CAMERAS.values():
            _look_at(self.model, slot, *view)
        for geom in ("rightpad_geom", "leftpad_geom", "rightclaw_it", "leftclaw_it"):
            self.model.geom(geom).rgba[:] = FINGER_RGBA
        for site in ("rightEndEffector", "leftEndEffector"):
            self.model.site(site).rgba[3] = 0.0
        goal = self.model.site("goal")
        if self.task == "push":
            puck = self.model.geom("objGeom")
            puck.matid[:], puck.rgba[:] = -1, PUCK_RGBA
            self.model.site_type[goal.id] = mujoco.mjtGeom.mjGEOM_CYLINDER
            goal.size[:], goal.rgba[:] = (GOAL_RADIUS, 0.0005, 0.0), GOAL_RGBA
        else:
            goal.rgba[3] = 0.0  # where the handle has to go is not marked in the real world

    def reset(
        self, rng: np.random.Generator, accept: Callable[[np.ndarray], bool] = lambda layout: True
    ) -> None:
        """A new layout, drawn widely until `accept` takes it: start of the hand, puck and goal, or drawer."""
        far = 0.78 if self.task == "push" else 0.58  # in front of the drawer
        self.env.hand_init_pos = rng.uniform((-0.16, 0.46, 0.13), (0.16, far, 0.26))
        draw = self._push_layout if self.task == "push" else self._drawer_layout
        layout = draw(rng)
        while not accept(layout):
            layout = draw(rng)
        self.env._last_rand_vec = layout
        self.env.reset()
        if self.task == "push":  # MetaWorld's goal height is the puck's centre; the disc lies on the table
            self.model.site("goal").pos[2] = 0.001
        self.evaluate(np.zeros(4))

    @staticmethod
    def _push_layout(rng: np.random.Generator) -> np.ndarray:
        while True:  # MetaWorld wants 0.15 m between puck and goal; the goal may be on any side
            puck = rng.uniform((-0.17, 0.52, 0.02), (0.17, 0.86, 0.02))
            goal = rng.uniform((-0.17, 0.54, 0.02), (0.17, 0.88, 0.02))
            if 0.17 < np.linalg.norm(puck[:2] - goal[:2]) < 0.36:
                return np.concatenate([puck, goal])

    @staticmethod
    def _drawer_layout(rng: np.random.Generator) -> np.ndarray:
        return rng.uniform((-0.12, 0.82, 0.0), (0.12, 0.94, 0.0))

    def hardness(self, layout: np.ndarray) -> float:
        """0 easy … 1 hard: how far the goal, or the drawer, is from the middle of the table."""
        return float(abs(layout[3]) / 0.17 if self.task == "push" else abs(layout[0]) / 0.12)

    def step(self, action: np.ndarray) -> None:
        """Hold one action (float32 [4] in [-1, 1]) for `REPEAT` control steps."""
        for _ in range(REPEAT):
            self.env.step(action)
        self.evaluate(action)

    def evaluate(self, action: np.ndarray) -> None:
        """MetaWorld's reward and success for the present state, kept for `truth`."""
        mujoco.mj_forward(self.model, self.data)
        self.observation = self.env._get_obs()
        self.reward, info = self.env.evaluate_state(self.observation, np.asarray(action, np.float32))
        self.success = bool(info["success"])

    @property
    def state(self) -> np.ndarray:
        """The end effector: x, y, z in metres and gripper opening 0 … 1, float32 [4]."""
        return self.observation[:4].astype(np.float32)

    @property
    def commanded(self) -> np.ndarray:
        """Where the hand is being pulled to, metres [3]; the hand follows with a short lag."""
        return self.data.mocap_pos[0].copy()

    def truth(self) -> Truth:
        target = self.env._get_pos_objects().copy()
        hand, goal = self.env.tcp_center.copy(), np.array(self.env._target_pos)
        drawer = float(-self.data.joint("goal_slidey").qpos[0]) if self.task == "drawer" else 0.0
        offset = np.abs(hand - target)
        if self.task == "push":
            held = bool(offset[0] < 0.03 and offset[1] < 0.03 and offset[2] < 0.045)
        else:
            held = bool(offset[0] < 0.06 and offset[1] < 0.055 and hand[2] < target[2] - 0.005)
        return Truth(hand, float(self.observation[3]), target, goal, held, drawer, self.success, self.reward)

    def pixel(self, camera: str, point: np.ndarray) -> tuple[float, float]:
        """Where a point (metres [3]) appears: (column, row) as fractions of the image, 0 … 1 inside it."""
        slot = self.data.camera(CAMERAS[camera][0])
        local = slot.xmat.reshape(3, 3).T @ (point - slot.xpos)
        focal = 0.5 / np.tan(np.radians(CAMERAS[camera][1][2]) / 2)
        return 0.5 - focal * local[0] / local[2], 0.5 + focal * local[1] / local[2]

    def render(self, camera: str) -> np.ndarray:
        """The camera's picture, uint8 [size, size, 3] RGB."""
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self.model, self.size, self.size)
            atexit.register(self.close)  # while OSMesa is still loaded
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._renderer.scene.flags[flag] = 0
        self._renderer.update_scene(self.data, CAMERAS[camera][0])
        return self._renderer.render()

    def close(self) -> None:
        """Free the renderer: OSMesa serves one at a time, so close one scene before opening the next."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
            atexit.unregister(self.close)
