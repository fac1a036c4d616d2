"""Report of a set that was built: counts, sizes of people, distances between labels, and what cannot be right."""

import json
from collections import Counter
from pathlib import Path

import numpy as np

# mean lengths of adults, millimetres; a set whose median is beyond half or 1.7 times of it has another unit
LIMB_MM = {"thigh": 400.0, "shin": 400.0, "upper arm": 280.0, "forearm": 250.0}
MOST_REPROJECTION = 0.06  # of the box; detectors and fits are within 0.03
MOST_JOINT_MM = 150.0  # fits are within 60
MOST_SMPL_JOINT_MM = 120.0  # 0 with the release's own body; another body in SMPL layout has joints 20 to 60 mm away
LEAST_BOX_IOU = 0.3  # of the box around keypoints and the release's box, which has a margin
MOST_LEFT_OUT = 0.5  # share of the fits that are too far from 3D labels
MOST_ANGLE = 7.0  # radians: a little over one turn
DEPTHS = (0.2, 80.0)  # metres
SWAPPED_SHARE = 0.5
MEASURES = ("_mm", "_px", "_of_box", "_m", "_iou")  # endings of the numbers of a row that are summed up


class Report:
    """Numbers of all rows and reasons of all dropped entries of a set."""

    def __init__(self, rows: list[dict], dropped: list[dict], notes: list[str], problems: list[str]):
        self.rows, self.dropped, self.notes = rows, dropped, notes
        self.reasons = Counter(entry["reason"] for entry in dropped)
        self.problems = [*problems, *self._find_problems()]

    @classmethod
    def read(cls, rows: Path, dropped: Path, notes: list[str], problems: list[str]) -> "Report":
        """From the files of lines of JSON that the build writes."""

        def lines(path: Path) -> list[dict]:
            with path.open(encoding="utf-8") as file:
                return [json.loads(line) for line in file]

        return cls(lines(rows), lines(dropped), notes, problems)

    def values(self, name: str) -> np.ndarray:
        """A number of all rows that have it -> (N,)."""
        return np.array([row[name] for row in self.rows if name in row])

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        names = sorted({name for row in self.rows for name in row if name.endswith(MEASURES)})
        summary = {}
        for name in names:
            values = self.values(name)
            median, high = np.percentile(values, (50, 95))
            summary[name] = {"rows": len(values), "median": round(float(median), 4), "p95": round(float(high), 4)}
        examples = {}
        for entry in self.dropped:
            examples.setdefault(entry["reason"], f"{entry['where']} {entry['detail']}".strip())
        return {
            "rows": len(self.rows),
            "with_body": sum(1 for row in self.rows if row["has_body"]),
            "genders": dict(Counter(row["gender"] for row in self.rows)),
            "fits_left_out": sum(1 for row in self.rows if row.get("fit_left_out")),
            "dropped": dict(self.reasons.most_common()),
            "dropped_examples": examples,
            "measured": summary,
            "notes": self.notes,
            "problems": self.problems,
        }

    def lines(self) -> list[str]:
        """The report as lines of text."""
        content = self.as_dict()
        genders = ", ".join(f"{count} {gender}" for gender, count in content["genders"].items())
        lines = [f"{content['rows']} rows ({genders}), {content['with_body']} with a body"]
        if content["fits_left_out"]:
            lines.append(f"{content['fits_left_out']} fits are too far from the 3D labels; their rows have no body")
        lines.append(f"{sum(self.reasons.values())} entries dropped")
        for reason, count in content["dropped"].items():
            lines.append(f"  {count:6d} x {reason}, e.g. {content['dropped_examples'][reason]}")
        titles = {
            "reprojection_px": "body to 2D labels, pixels",
            "reprojection_of_box": "body to 2D labels, share of the box",
            "box_iou": "IoU of keypoints and box of the release",
            "joints_mm": "body to 3D labels, mm",
            "smpl_joints_mm": "body to SMPL joints of the release, mm",
            "depth_m": "distance to the camera, m",
            **{f"{name}_mm": f"{name}, mm" for name in LIMB_MM},
        }
        for name, title in titles.items():
            if numbers := content["measured"].get(name):
                median, high = numbers["median"], numbers["p95"]
                lines.append(f"{title}: median {median:.4g}, 95 % below {high:.4g} ({numbers['rows']} rows)")
        return lines + self.notes + [f"PROBLEM: {problem}" for problem in self.problems]

    def _find_problems(self) -> list[str]:
        """What shows another convention than the reader's: one line each with number and likely cause."""
        problems = []
        if len(self.rows) == 0:
            return ["no entry gives a row; see what was dropped"]
        for name, typical in LIMB_MM.items():
            lengths = self.values(f"{name}_mm")
            if len(lengths) and not 0.5 * typical < np.median(lengths) < 1.7 * typical:
                problems.append(
                    f"the {name} has {np.median(lengths):.4g} mm (median), an adult's {typical:.0f}; "
                    "the 3D keypoints may be in another unit"
                )
                break
        angles = self.values("largest_angle")
        if len(angles) and np.median(angles) > MOST_ANGLE:
            problems.append(f"pose angles reach {np.median(angles):.1f} (median), more than a turn: are they degrees?")
        depths = self.values("depth_m")
        if len(depths) and not DEPTHS[0] < np.median(depths) < DEPTHS[1]:
            problems.append(f"people stand {np.median(depths):.4g} m from the camera (median): is it millimetres?")
        swapped = False
        for plain, other, what in (
            ("reprojection_px", "reprojection_swapped_px", "2D"),
            ("joints_mm", "joints_swapped_mm", "3D"),
        ):
            pairs = np.array([(row[plain], row[other]) for row in self.rows if plain in row and other in row])
            if len(pairs) and (share := float((pairs[:, 1] < 0.7 * pairs[:, 0]).mean())) > SWAPPED_SHARE:
                swapped = True
                problems.append(
                    f"in {share:.0%} of the rows the {what} labels fit better with left and right exchanged: "
                    "sides are swapped"
                )
        for name, most, unit, causes in (
            ("reprojection_of_box", MOST_REPROJECTION, "of the box", "rotation, translation, camera or unit"),
            ("joints_mm", MOST_JOINT_MM, "mm", "rotation, joint order or unit"),
            ("smpl_joints_mm", MOST_SMPL_JOINT_MM, "mm", "rotation, translation or unit"),
        ):
            values = self.values(name)
            if len(values) and np.median(values) > most and not (swapped and name == "joints_mm"):
                problems.append(
                    f"the body is {np.median(values):.4g} {unit} from the labels (median, {name}), at most {most} is "
                    f"plausible: {causes} follow another convention"
                )
        for name in sorted({name for row in self.rows for name in row if name.startswith("if ")}):
            pairs = np.array([(row["reprojection_px"], row[name]) for row in self.rows if name in row])
            if (share := float((pairs[:, 1] < 0.5 * pairs[:, 0]).mean())) > SWAPPED_SHARE:
                problems.append(
                    f"in {share:.0%} of the rows the body fits the 2D labels better {name}: "
                    "the cameras follow another convention"
                )
        for name in sorted({name for row in self.rows for name in row if name.startswith("pose_error if ")}):
            pairs = np.array([(row["pose_error"], row[name]) for row in self.rows if {"pose_error", name} <= set(row)])
            if len(pairs) and (share := float((pairs[:, 1] < 0.5 * pairs[:, 0]).mean())) > SWAPPED_SHARE:
                problems.append(
                    f"in {share:.0%} of the rows the body fits the labels better if "
                    f"{name.removeprefix('pose_error if ')}: the pose follows another convention"
                )
        overlaps = self.values("box_iou")
        if len(overlaps) and np.median(overlaps) < LEAST_BOX_IOU:
            problems.append(
                f"keypoints and boxes of the release overlap by {np.median(overlaps):.2f} (median IoU), "
                f"{LEAST_BOX_IOU} is the least that is plausible: rotation, camera or unit follow another convention"
            )
        left_out = len(self.values("fit_left_out"))
        if left_out > MOST_LEFT_OUT * len(self.values("joints_mm")):
            problems.append(
                f"{left_out} of {len(self.values('joints_mm'))} fits are too far from the 3D labels: "
                "their rotation, sides or unit follow another convention"
            )
        behind = self.reasons["person is behind the camera"]
        if behind > 0.05 * len(self.rows):
            problems.append(f"{behind} people are behind the camera: rotation or translation follow another convention")
        return problems
