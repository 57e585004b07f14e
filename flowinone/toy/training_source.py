"""The toy world as a source of training data: `scenes:` in a run file, or `scenes:doodle,wind` for some tasks."""

from . import SCENE_TASKS, SceneSource


def open_scenes(path: str, *, seed: int, image_size: int, vision_size: int) -> SceneSource:
    """Examples of the comma-separated tasks in `path`, of all tasks if it is empty; see `training.sources.SourceOpener`.

    Raises ValueError for a task without scenes.
    """
    tasks = tuple(filter(None, path.split(","))) or SCENE_TASKS
    unknown = [task for task in tasks if task not in SCENE_TASKS]
    if unknown:
        raise ValueError(f"there are no scenes for {unknown[0]}; choose from {', '.join(SCENE_TASKS)}")
    return SceneSource(tasks, seed, image_size, vision_size)
