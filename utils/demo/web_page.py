"""Web page of the demo: `python demo.py --serve`. Needs Gradio (requirements-page.txt).

Only this computer can open it unless --host is given. An uploaded photograph is deleted seconds after its result is
made, at the latest after ten minutes. Results are part of the page, so that no file stays on the server.
"""

import base64
import html
import os
import tempfile
from pathlib import Path

import cv2

from utils.demo.uploads import Uploads
from utils.errors import UserError
from utils.export.html_viewer import viewer_page
from utils.export.meshes import save_mesh
from utils.export.records import save_json, save_npz
from utils.media.find import PICTURES
from utils.media.images import load_image, save_image
from utils.paths import SAMPLES

MAX_MEGABYTES = 20  # of an upload
MAX_PIXELS = 40_000_000  # of a photograph
MAX_PEOPLE = 5
PREVIEW = 480  # pixels of the longer side of the preview
WAITING = 16  # requests in the queue; more get an error
MEDIA_TYPES = {".png": "image/png", ".glb": "model/gltf-binary", ".json": "application/json"}


def serve(predictor, results, host: str, port: int):
    """Serve the page until the process is interrupted. predictor: models.predictor.Predictor; results: PhotoResults."""
    with tempfile.TemporaryDirectory(prefix="smpl-pose-page-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # folder of uploads until they are read
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        page, gradio = build_page(predictor, results, Uploads(folder))
        print(f"page     http://{host}:{port} (stop with Ctrl-C)", flush=True)
        try:
            page.queue(max_size=WAITING, default_concurrency_limit=1).launch(
                server_name=host,
                server_port=port,
                share=False,
                quiet=True,
                max_file_size=f"{MAX_MEGABYTES}mb",
                footer_links=[],
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                ssr_mode=False,
                pwa=False,
            )
        except OSError as error:
            raise UserError(f"cannot serve at {host}:{port} ({error}); choose another --port or --host") from error


def build_page(predictor, results, uploads: Uploads) -> tuple:
    """-> the Gradio app, the gradio module. UserError if Gradio is not installed."""
    try:
        import gradio
    except ImportError as error:
        raise UserError("--serve needs Gradio: pip install -r requirements-page.txt") from error

    def run(upload: str | None, sample: str | None, max_people: int):
        copy = None
        try:
            copy = uploads.copy(upload) if upload else None
            shown, links = reconstruct(predictor, results, copy, sample, int(max_people))
        except UserError as error:
            shown, links = f"<p role='alert'>Sorry: {html.escape(str(error))}.</p>", ""
        finally:
            if upload:
                uploads.done(upload, copy)
        return shown, links, None

    def show(upload: str):
        uploads.add(upload)
        return preview(Path(upload)), None

    with gradio.Blocks(title="SMPL-Pose", analytics_enabled=False, delete_cache=(60, 600)) as page:
        gradio.Markdown("# SMPL-Pose\n3D bodies from a photograph. Uploads are not kept.")
        with gradio.Row():
            with gradio.Column(scale=1):
                upload = gradio.File(label=f"Your photograph, up to {MAX_MEGABYTES} MB", file_types=list(PICTURES))
                sample = gradio.Radio(sample_names(), label="or a sample", value=next(iter(sample_names()), None))
                people = gradio.Slider(1, MAX_PEOPLE, value=1, step=1, label="Largest number of people")
                button = gradio.Button("Reconstruct", variant="primary")
            with gradio.Column(scale=3):
                view = gradio.HTML(label="Overlay and interactive body")
                files = gradio.HTML(label="Files")
        upload.upload(show, upload, [view, sample], show_progress="hidden", api_name=False)
        button.click(run, [upload, sample, people], [view, files, upload], api_name="reconstruct")
    return page, gradio


def sample_names() -> list[str]:
    return [path.name for path in sorted(SAMPLES.glob("*.png"))]


def preview(path: Path) -> str:
    """HTML that shows the photograph that will be worked on, or what is wrong with it."""
    try:
        image = load_image(path, MAX_PIXELS)
    except UserError as error:
        return f"<p role='alert'>Sorry: {html.escape(str(error).replace(str(path), path.name))}.</p>"
    scale = min(1, PREVIEW / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    _, jpeg = cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1])
    name, data = html.escape(path.name, quote=True), base64.b64encode(jpeg.tobytes()).decode()
    return f"<p>{name}: press Reconstruct</p><img alt='your photograph' src='data:image/jpeg;base64,{data}'>"


def reconstruct(predictor, results, upload: Path | None, sample: str | None, max_people: int) -> tuple[str, str]:
    """Reconstruct a photograph -> HTML of the result, HTML with links to its files.

    UserError if there is no photograph or it cannot be read; the message has no path of the server.
    """
    path = upload or SAMPLES / (sample if sample in sample_names() else "")
    if path == SAMPLES:
        raise UserError("no photograph: upload one, or choose a sample")
    try:
        image = load_image(path, MAX_PIXELS)
        focal = predictor.focal(image, path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None
    detections = predictor.find(image, max_people=min(max(max_people, 1), MAX_PEOPLE))
    (people,) = predictor.reconstruct([image], [detections], [focal])

    overlay = results.overlay(image, people)
    viewer = html.escape(viewer_page(path.stem, *results.group(people), overlay), quote=True)
    found = [person for person in people if person.score is not None]
    count = "1 person" if len(found) == 1 else f"{len(found)} people"
    note = f"{count} found" if found else "Nobody was found: the whole picture is used as the box of one person"
    shown = (
        f"<p>{note}</p><iframe title='result' sandbox='allow-scripts' srcdoc=\"{viewer}\" "
        "style='width: 100%; height: 70vh; border: 0'></iframe>"
    )
    return shown, " ".join(file_links(results, path.stem, image, overlay, people))


def file_links(results, name: str, image, overlay, people: list) -> list[str]:
    """Links that contain the files as data URLs."""
    picture, records = results.describe(image, people), [person.record() for person in people]
    with tempfile.TemporaryDirectory(prefix="smpl-pose-") as folder:
        folder = Path(folder)
        save_image(folder / "overlay.png", overlay)
        for number, person in enumerate(people, 1):
            save_mesh(folder / f"body{number}.glb", person.vertices, results.faces, results.colors)
        save_json(folder / "bodies.json", picture, records)
        save_npz(folder / "bodies.npz", picture, records)
        return [_link(path, f"{name}_{path.name}") for path in sorted(folder.iterdir())]


def _link(path: Path, name: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    kind = MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
    name = html.escape(name, quote=True)
    return f'<a style="margin-right: 1em" download="{name}" href="data:{kind};base64,{data}">{name}</a>'
