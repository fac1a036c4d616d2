"""Web page of the demo: `python demo.py --serve`. Needs Gradio (requirements-page.txt).

Only this computer can open it unless --host is given. An upload is deleted seconds after its result is made, at the
latest after ten minutes. Results are part of the page, so that no file stays on the server.
"""

import html
import os
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from utils.demo import page_results
from utils.demo.jobs import Job, Jobs
from utils.demo.options import LARGEST, SMALLEST
from utils.demo.page_results import Choices
from utils.demo.placing import Placing
from utils.demo.same_origin import LOOPBACK, SameOrigin
from utils.demo.uploads import Uploads
from utils.errors import UserError
from utils.media.find import PICTURES, VIDEOS, is_film
from utils.paths import SAMPLES

MAX_PEOPLE = 5
WAITING = 16  # requests in line; more get an error
POLL = 0.4  # seconds between two looks at a job
PLACES = {
    "default": None,
    "before the camera": "camera",
    "at their own origin": "origin",
    "feet on the ground": "ground",
}  # words of the page for --place
HEAD = Path(__file__).with_name("page_head.html")


def serve(predictor, results, host: str, port: int):
    """Serve the page until the process is interrupted. predictor: models.predictor.Predictor; results: PhotoResults."""
    with tempfile.TemporaryDirectory(prefix="smpl-pose-page-") as folder, closing(Jobs(WAITING)) as jobs:
        os.environ["GRADIO_TEMP_DIR"] = folder  # folder of uploads until they are read
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from starlette.middleware import Middleware  # comes with Gradio

        page, gradio = build_page(predictor, results, Uploads(folder), jobs)
        print(f"page     http://{host}:{port} (stop with Ctrl-C)", flush=True)
        try:
            page.queue(max_size=4 * WAITING, default_concurrency_limit=2).launch(
                server_name=host,
                server_port=port,
                share=False,
                quiet=True,
                max_file_size=f"{page_results.MAX_FILM_MEGABYTES}mb",
                footer_links=[],
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                head=HEAD.read_text(encoding="utf-8"),
                ssr_mode=False,
                pwa=False,
                app_kwargs={"middleware": [Middleware(SameOrigin, local=host in LOOPBACK)]},
            )
        except OSError as error:
            raise UserError(f"cannot serve at {host}:{port} ({error}); choose another --port or --host") from error


def build_page(predictor, results, uploads: Uploads, jobs: Jobs) -> tuple:
    """-> the Gradio app, the gradio module. UserError if Gradio is not installed."""
    try:
        import gradio
    except ImportError as error:
        raise UserError("--serve needs Gradio: pip install -r requirements-page.txt") from error
    same = gradio.skip()

    def run(upload: str | None, snapshot: str | None, sample: str | None, *chosen: float | str | None) -> Iterator:
        """Yields: state, detail, view, upload, snapshot."""
        yield "", "", same, same, same
        try:
            choices = choose(*chosen)
        except UserError as error:
            yield "", alert(error), same, same, same
            return
        try:
            job = submit(uploads, jobs, upload or snapshot, partial(work, predictor, results, sample, choices))
            state = None
            try:
                while not job.wait(POLL):
                    last, (state, detail) = state, describe(job, jobs)
                    yield same if state == last else state, detail, same, same, same
            finally:
                job.stop()  # also if the visitor has left
            yield "Done.", "", job.result(), None, None
        except UserError as error:
            yield "", alert(error), "", None, None
        except Exception:
            traceback.print_exc()
            yield "", alert("something went wrong on the server; try again, or use another picture"), "", None, None

    def show(path: str | None):
        """-> state, detail, view, sample, own input, and nothing in the other input."""
        if path is None:
            return (same,) * 6
        uploads.add(path)
        try:
            page_results.check_upload(Path(path))
        except UserError as error:
            uploads.done(path, None)
            return "", alert(error), "", None, None, None
        try:
            alt = "first frame of your film" if is_film(Path(path)) else "your photograph"
            return "", "", page_results.preview(Path(path), alt), None, same, None
        except UserError as error:
            return "", alert(error), "", None, same, None

    def show_sample(sample: str, *others: str | None):
        """-> state, detail, view, and nothing in the other inputs, whose files go."""
        for path in filter(None, others):
            uploads.done(path, None)
        return "", "", page_results.preview(SAMPLES / sample, f"sample {sample}"), None, None

    limits = f"photograph up to {page_results.MAX_MEGABYTES} MB, film up to {page_results.MAX_FILM_MEGABYTES} MB"
    names = sample_names()
    with gradio.Blocks(title="SMPL-Pose", analytics_enabled=False, delete_cache=(60, 600)) as page:
        gradio.Markdown(
            "# SMPL-Pose\n3D bodies from a photograph, or from the first "
            f"{page_results.MAX_SECONDS} seconds of a film. Uploads are not kept."
        )
        with gradio.Row():
            with gradio.Column(scale=1):
                with gradio.Tab("File"):
                    upload = gradio.File(label=f"Your {limits}", file_types=[*PICTURES, *VIDEOS])
                with gradio.Tab("Webcam"):
                    snapshot = gradio.Image(
                        sources=["webcam"], type="filepath", image_mode=None, label="Snapshot of your webcam"
                    )
                with gradio.Tab("Samples"):
                    sample = gradio.Radio(names, label="A sample photograph", value=next(iter(names), None))
                people = gradio.Slider(1, MAX_PEOPLE, value=1, step=1, label="Largest number of people")
                with gradio.Accordion("Places and sizes", open=False):
                    place = gradio.Radio([*PLACES], value=next(iter(PLACES)), label="Bodies in the files")
                    height = gradio.Number(0, label="Height of person 1 in cm (0: not known)")
                with gradio.Row():
                    button = gradio.Button("Reconstruct", variant="primary", scale=3, min_width=150)
                    stop = gradio.Button("Stop", scale=1, min_width=90)
                state = gradio.HTML(elem_id="state")
                detail = gradio.HTML()
            with gradio.Column(scale=3):
                view = gradio.HTML(page_results.preview(SAMPLES / names[0], f"sample {names[0]}") if names else "")
        quiet = {"show_progress": "hidden", "api_name": False}
        upload.upload(show, upload, [state, detail, view, sample, upload, snapshot], **quiet)
        snapshot.input(show, snapshot, [state, detail, view, sample, snapshot, upload], **quiet)
        sample.input(show_sample, [sample, upload, snapshot], [state, detail, view, upload, snapshot], **quiet)
        running = button.click(
            run,
            [upload, snapshot, sample, people, place, height],
            [state, detail, view, upload, snapshot],
            api_name="reconstruct",
            show_progress="hidden",
            concurrency_limit=2 * WAITING,
        )
        stop.click(lambda: ("Stopped.", ""), None, [state, detail], cancels=[running], **quiet)
    return page, gradio


def submit(uploads: Uploads, jobs: Jobs, upload: str | None, work_on: Callable[[Path | None, Job], str]) -> Job:
    """Put a request in line with a copy of its upload; the files go when it has ended. UserError as `Jobs.submit`."""
    if not upload:
        return jobs.submit(partial(work_on, None))
    try:
        copy = uploads.copy(upload)
    except UserError:
        uploads.done(upload, None)
        raise
    return jobs.submit(partial(work_on, copy), partial(uploads.done, upload, copy))


def choose(max_people: float = 1, place: str | None = None, height: float | None = None) -> Choices:
    """place: of PLACES. height: of the first person, centimetres, by which all are scaled; 0 or None if unknown."""
    if height and not SMALLEST <= height <= LARGEST:
        raise UserError(
            f"a height of {height:g} cm is not one of {SMALLEST} to {LARGEST} cm; correct it, or leave it out"
        )
    placing = Placing(PLACES.get(place), heights=(height / 100,) if height else ())
    return Choices(min(max(int(max_people), 1), MAX_PEOPLE), placing)


def work(predictor, results, sample: str | None, choices: Choices, upload: Path | None, job: Job) -> str:
    """Reconstruct the upload, or else the sample -> HTML of the result."""
    if upload and is_film(upload):
        return page_results.film_result(predictor, results, upload, choices, job.report)
    return reconstruct(predictor, results, upload, sample, choices)


def reconstruct(predictor, results, upload: Path | None, sample: str | None, choices: Choices) -> str:
    """Reconstruct a photograph -> HTML of the result.

    UserError if there is no photograph or it cannot be read; the message has no path of the server.
    """
    path = upload or SAMPLES / (sample if sample in sample_names() else "")
    if path == SAMPLES:
        raise UserError("no photograph: upload one, or choose a sample")
    return page_results.photo_result(predictor, results, path, choices)


def sample_names() -> list[str]:
    return [path.name for path in sorted(SAMPLES.glob("*.png"))]


def describe(job: Job, jobs: Jobs) -> tuple[str, str]:
    """What a job does, for the screen reader too, and HTML of how far it is."""
    if before := jobs.place(job):
        return f"Waiting: {before} {'request is' if before == 1 else 'requests are'} before yours.", ""
    step, done, total = job.progress
    if not step:
        return "Working.", ""
    share = f"value='{min(done, total)}' max='{total}'"  # a film's header may be wrong about their number
    return f"{step}.", f"<progress aria-label='Frames' {share}></progress> frame {done} of {max(done, total)}"


def alert(message: object) -> str:
    """An error as HTML; what is left of the server's paths goes."""
    text = re.sub(r"(?<![\w.])(?:[A-Za-z]:)?(?:[\\/][^\\/\s:;,]+)+(?=[\\/])[\\/]", "", str(message))
    return f"<p role='alert'>Error: {html.escape(text)}.</p>"
