"""The pack as people get it: the Registry's zip, a git clone, next to other packs, managed by ComfyUI-Manager."""

import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from devtools import ROOT
from devtools.comfyui.server import LAUNCH, ComfyServer, server_environment
from flowinone import __version__

NODES = set(json.loads((ROOT / "tests" / "fixtures" / "nodes.json").read_text(encoding="utf-8")))
REPOSITORY = "ComfyUI-FlowInOne"
"""The last part of the repository's address, which is what ComfyUI-Manager calls a clone."""
CLONE = "My FlowInOne (copy) v1.0-dev"
CAPTION = {
    "class_type": "FlowInOneTextPrompt",
    "inputs": {
        **{"kind": "caption", "text": "a red bicycle", "background": "solid", "color": "#ffffff"},
        **{"second_color": "#ffffff", "face": "trained", "text_size": 0, "align": "center", "size": 256},
        "font": "bundled",
    },
}
# A pack with the names that this one uses, which puts itself first on the path and imports them from there.
NEIGHBOUR = {
    "__init__.py": """
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flowinone
import comfyui_flowinone
from .nodes.named import NeighbourName
NODE_CLASS_MAPPINGS = {"NeighbourName": NeighbourName}
""",
    "nodes/__init__.py": "",
    "nodes/named.py": """
import flowinone
from ..utils.words import NAME
class NeighbourName:
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "name", True, "neighbour"
    def name(self):
        return {"ui": {"text": [NAME, flowinone.NAME]}}
""",
    "utils/__init__.py": "",
    "utils/words.py": 'NAME = "utils of the neighbour"',
    "flowinone/__init__.py": 'NAME = "flowinone of the neighbour"',
    "comfyui_flowinone.py": "",
}

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def run(command, folder, home):
    """Run a program in `folder`; return its output. Its settings and caches go to `home`; it says no word to anyone."""
    # A git hook that runs the tests points git at the repository of the hook.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHONPATH"))}
    places = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    environment |= dict.fromkeys(places, str(home)) | {"DO_NOT_TRACK": "1", "COMFY_NO_UPDATE_CHECK": "1"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment | {"PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def repository(tmp_path_factory, home):
    """A repository with one commit: the files of this folder that git would track, whatever state they are in."""
    folder = tmp_path_factory.mktemp("repository") / REPOSITORY
    author = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    run(["git", "init", "--quiet", folder], ROOT, home)
    # From the outside, because this folder need not be a repository itself.
    run(["git", "--git-dir", folder / ".git", "--work-tree", ROOT, "add", "--all"], ROOT, home)
    run(["git", *author, "commit", "--quiet", "--message", "the working tree"], folder, home)
    run(["git", "reset", "--quiet", "--hard"], folder, home)
    return folder


def comfy(arguments, folder, home):
    """Run comfy-cli as it is installed next to this Python."""
    program = shutil.which("comfy", path=str(Path(sys.executable).parent))
    assert program, 'comfy-cli is not installed: pip install ".[test]"'
    return run([program, "--skip-prompt", *arguments], folder, home)


@pytest.fixture(scope="module")
def packed(repository, home):
    """What `comfy node pack` makes for the Registry."""
    comfy(["node", "pack"], repository, home)
    return repository / "node.zip"


def start(host, base):
    """A server with the packs in `base`, with ComfyUI-Manager where that may run."""
    settings = base / "user" / "__manager"
    settings.mkdir(parents=True)
    (settings / "config.ini").write_text("[default]\nnetwork_mode = offline\n", encoding="utf-8")
    return ComfyServer(*host, base, pack=None, arguments=("--enable-manager",) if manager_may_run(host) else ())


def manager_may_run(host):
    # It repairs the packages of the Python that it runs in, so that must not be a user's own.
    return Path(host[1]) == Path(sys.executable) and importlib.util.find_spec("comfyui_manager") is not None


@pytest.fixture(scope="module")
def installed(host, packed, tmp_path_factory):
    """An otherwise empty ComfyUI with the zip in it, put there as ComfyUI-Manager does."""
    base = tmp_path_factory.mktemp("installed")
    pack = base / "custom_nodes" / "flowinone"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(pack)
        (pack / ".tracking").write_text("\n".join(archive.namelist()), encoding="utf-8")
    with start(host, base) as running:
        yield running


@pytest.fixture(scope="module")
def cloned(host, repository, home, tmp_path_factory):
    """A ComfyUI with a clone in a folder of an odd name, and the neighbour."""
    base = tmp_path_factory.mktemp("cloned")
    clone = base / "custom_nodes" / CLONE
    run(["git", "clone", "--quiet", repository, clone], base, home)
    run(["git", "remote", "set-url", "origin", f"https://github.com/flowinone/{REPOSITORY}"], clone, home)
    for name, text in NEIGHBOUR.items():
        path = base / "custom_nodes" / "neighbour" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with start(host, base) as running:
        yield running


def nodes_of(server, folder):
    """The ids of the nodes that come from a folder of custom_nodes."""
    offered = server.client().object_info()
    return {name for name, node in offered.items() if node["python_module"] == f"custom_nodes.{folder}"}


def outputs_of(server, prompt):
    """What the nodes of a prompt show, and the pictures among it."""
    client = server.client()
    try:
        history = client.run(prompt)
        return history["outputs"], [Image.open(io.BytesIO(content)) for _, content in client.images(history)]
    finally:
        client.close()


def test_comfy_node_validate_has_nothing_to_say(repository, home):
    said = comfy(["node", "validate"], repository, home)

    assert "All validation checks passed" in said
    # It exits with 0 whatever it finds.
    assert not re.search("warning|error|invalid|not |should|must", said, re.IGNORECASE), said


def test_the_scan_of_validate_finds_nothing_with_its_own_settings_alone(repository, home):
    # validate takes a scan that could not run for a clean one, and heeds the exceptions that a pack makes for itself.
    scan = ["ruff", "check", ".", "--isolated", "--ignore-noqa", "--no-cache", "--select", "S102,S307,E702"]
    assert "All checks passed" in run([sys.executable, "-m", *scan], repository, home)


def test_the_registry_reads_every_field(repository, home):
    read = (
        "import dataclasses, json; from comfy_cli.registry.config_parser import extract_node_configuration as read; "
        "print(json.dumps(dataclasses.asdict(read('pyproject.toml'))))"
    )
    # Fields that it cannot read are left out with a warning, which would not be JSON.
    said = json.loads(run([sys.executable, "-c", read], repository, home))
    project, comfy_table = said["project"], said["tool_comfy"]

    assert re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", project["name"]) and "comfyui" not in project["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["description"] and project["requires_python"]
    assert (repository / project["license"]["file"]).is_file()
    assert project["urls"]["repository"].endswith(f"/{REPOSITORY}")
    assert project["urls"]["documentation"] and project["urls"]["issues"]
    assert project["supported_os"] == ["OS Independent"]
    assert {"GPU :: NVIDIA CUDA", "GPU :: AMD ROCm", "GPU :: Apple Metal"} <= set(project["supported_accelerators"])
    assert project["supported_comfyui_version"] == ">=0.30.0"
    assert comfy_table["publisher_id"] and comfy_table["display_name"] == "FlowInOne"
    # ComfyUI brings what the pack needs: nothing is to be installed with it, in any way.
    assert project["dependencies"] == []
    assert not [name for name in ("requirements.txt", "install.py", "setup.py") if (repository / name).exists()]
    # With WEB_DIRECTORY this would load every script twice.
    assert not comfy_table["web"]


def test_the_zip_is_small_and_holds_the_pack_alone(packed):
    with zipfile.ZipFile(packed) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}

    assert packed.stat().st_size < 30_000_000
    assert tops - {"locales"} == {
        *("__init__.py", "pyproject.toml", "README.md", "LICENSE"),
        *("nodes", "comfyui_flowinone", "flowinone", "workflows"),
    }


def test_the_zip_in_an_empty_comfyui_brings_every_node(installed):
    assert nodes_of(installed, "flowinone") == NODES
    log = installed.log.read_text(encoding="utf-8")
    assert "IMPORT FAILED" not in log and "Unable to parse pyproject.toml" not in log
    # Words need the fonts.
    _, (picture,) = outputs_of(installed, {"1": CAPTION})
    assert picture.size == (256, 256) and len(picture.convert("L").getcolors()) > 2


def test_the_zip_in_an_empty_comfyui_answers_with_mini(installed):
    chosen = {name: "mini (bundled)" for name in ("checkpoint", "vision", "vae")} | {"dtype": "default"}
    models = {"model": ["2", 0], "encoder": ["2", 1], "vae": ["2", 2]}
    sampling = {
        "seed": 0,
        "steps": 1,
        "guidance_scale": 1.0,
        "solver": "euler",
        "bypass": False,
        "sample_posterior": True,
    }
    _, pictures = outputs_of(
        installed,
        {
            "1": CAPTION,
            "2": {"class_type": "FlowInOneLoader", "inputs": chosen},
            "3": {"class_type": "FlowInOneSampler", "inputs": models | sampling | {"prompt": ["1", 0]}},
            "4": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["2", 2]}},
            "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "mini"}},
        },
    )
    assert (128, 128) in [picture.size for picture in pictures]


def test_the_zip_brings_what_the_browser_asks_for(installed):
    pack = installed.base / "custom_nodes" / "flowinone"
    templates = json.loads(installed.client().request("/workflow_templates"))["flowinone"]
    assert sorted(templates) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    for name in templates:
        for kind in (".json", ".jpg"):
            served = installed.client().request("/api/workflow_templates/flowinone/" + quote(name + kind))
            assert served == (ROOT / "workflows" / (name + kind)).read_bytes()

    translations = json.loads(installed.client().request("/i18n"))
    for language in pack.glob("locales/*"):
        assert translations[language.name]["nodeDefs"].keys() <= NODES
    web = pack / "comfyui_flowinone" / "web"
    for path in filter(Path.is_file, web.glob("**/*")):
        assert (
            installed.client().request("/extensions/flowinone/" + quote(path.relative_to(web).as_posix()))
            == path.read_bytes()
        )


def test_a_clone_of_any_name_works_beside_a_pack_with_the_same_module_names(cloned):
    assert nodes_of(cloned, CLONE) == NODES
    assert nodes_of(cloned, "neighbour") == {"NeighbourName"}
    outputs, (picture,) = outputs_of(cloned, {"1": CAPTION, "2": {"class_type": "NeighbourName", "inputs": {}}})

    assert picture.size == (256, 256)
    assert outputs["2"]["text"] == ["utils of the neighbour", "flowinone of the neighbour"]


# A process as ComfyUI's main.py makes it, which loads the pack and tells what that imported.
LOADING = """
import asyncio, os, sys
comfyui, pack, base, launch = sys.argv[1:]
sys.path.insert(0, os.path.dirname(launch))
from launch import accept_torchvision
sys.path[0] = comfyui
sys.path.append(os.path.join(os.path.dirname(launch), "shims"))
accept_torchvision()
os.chdir(comfyui)
sys.argv = ["main.py", "--cpu", "--disable-api-nodes", "--base-directory", base]
import comfy.options
comfy.options.enable_args_parsing()
import nodes, server

async def load():
    server.PromptServer(asyncio.get_running_loop())
    await nodes.init_builtin_extra_nodes()
    before = set(sys.modules)
    assert await nodes.load_custom_node(pack, set(nodes.NODE_CLASS_MAPPINGS))
    own = pack.replace(".", "_x_")
    print("loaded:", *sorted(name for name in sys.modules if name not in before and not name.startswith(own)))

asyncio.run(load())
"""


def test_loading_the_pack_imports_next_to_nothing_that_comfyui_has_not(host, tmp_path):
    # This is what keeps its line in "Import times" below 0.1 s: a package such as diffusers brings dozens of modules.
    command = [host[1], "-c", LOADING, host[0], str(ROOT), str(tmp_path), str(LAUNCH)]
    said = subprocess.run(command, env=server_environment(), capture_output=True, encoding="utf-8", timeout=120)
    assert said.returncode == 0, said.stderr

    imported = re.search("^loaded:(.*)$", said.stdout, re.MULTILINE).group(1).split()
    assert len(imported) <= 5, imported


@pytest.fixture
def managed(host):
    if not manager_may_run(host):
        pytest.skip(
            "needs comfyui-manager, and a Python for ComfyUI that is not a user's own: run bash scripts/test.sh"
        )


def listed(server):
    """What ComfyUI-Manager says is installed, by folder."""
    return json.loads(server.client().request("/v2/customnode/installed"))


def manage(server, kind, **params):
    """Have ComfyUI-Manager do a task, and wait until it has."""
    task = uuid.uuid4().hex
    server.client().request(
        "/v2/manager/queue/task", {"ui_id": task, "client_id": "tests", "kind": kind, "params": params}
    )
    server.client().request("/v2/manager/queue/start", {})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        history = json.loads(server.client().request("/v2/manager/queue/history"))["history"]
        if task in history:
            assert history[task]["status"]["status_str"] == "success", history[task]
            return
        time.sleep(0.1)
    raise TimeoutError(f"ComfyUI-Manager did not {kind} {params}. The end of its log:\n{server.log_tail()}")


def remember_the_registry(server):
    """Put into the Manager's cache what the Registry would have told it of this pack; without, it enables no pack."""
    pack = {"id": "flowinone", "name": "FlowInOne", "latest_version": {"version": __version__}}
    pack["repository"] = f"https://github.com/flowinone/{REPOSITORY}"
    address, number = "https://api.comfy.org/nodes", 0
    for letter in address:
        number = (number * 31 + ord(letter)) % 2**32
    cache = server.base / "user" / "__manager" / "cache" / f"{number}_nodes.json"
    cache.write_text(json.dumps({"nodes": [pack]}), encoding="utf-8")


def test_the_manager_lists_disables_and_enables_an_installed_pack(managed, installed):
    packs = installed.base / "custom_nodes"
    remember_the_registry(installed)
    assert listed(installed)["flowinone"] == {
        "ver": __version__,
        "cnr_id": "flowinone",
        "aux_id": None,
        "enabled": True,
    }

    manage(installed, "disable", node_name="flowinone")
    assert not (packs / "flowinone").exists()
    assert [pack["enabled"] for pack in listed(installed).values()] == [False]
    installed.stop()
    installed.start()
    assert nodes_of(installed, "flowinone") == set()
    assert [(pack["cnr_id"], pack["enabled"]) for pack in listed(installed).values()] == [("flowinone", False)]

    manage(installed, "enable", cnr_id="flowinone")
    installed.stop()
    installed.start()
    assert listed(installed)["flowinone"]["enabled"]
    assert nodes_of(installed, "flowinone") == NODES


def test_the_manager_lists_disables_and_enables_a_clone(managed, cloned):
    packs = cloned.base / "custom_nodes"
    assert listed(cloned)[CLONE]["enabled"] and listed(cloned)[CLONE]["aux_id"] == f"flowinone/{REPOSITORY}"

    manage(cloned, "disable", node_name=REPOSITORY, is_unknown=True)
    assert (packs / ".disabled" / REPOSITORY / "nodes").is_dir() and not (packs / CLONE).exists()
    assert not listed(cloned)[REPOSITORY]["enabled"]
    # It comes back under its repository's name.
    manage(cloned, "enable", cnr_id=REPOSITORY)
    assert listed(cloned)[REPOSITORY]["enabled"]
    (packs / REPOSITORY).rename(packs / CLONE)
