"""Bad input to a script is one clear line and exit code 2, before any work, and leaves no file behind."""

import importlib

import pytest

CASES = [
    ("ablate_graph", "--output o --features none --test dir", "--features: no folder"),
    ("ablate_graph", "--output file/o --report", "--output: cannot write into"),
    ("ablate_graph", "--output o", "give --features DIR and --test DIR"),
    ("ablate_graph", "--output o --features dir --test dir", "no people_*.safetensors"),
    ("ablate_graph", "--output o --features dir --test dir --shares 2", "--shares 2 is above 1"),
    ("ablate_graph", "--output o --features dir --test dir --seeds -1", "--seeds: -1 is below 0"),
    ("ablate_graph", "--output o --features dir --test dir --num_samples 0", "--num_samples: 0 is below 1"),
    ("ablate_graph", "--output o --features dir --test dir --lr nan", "--lr: nan is not finite"),
    ("ablate_graph", "--output o --features dir --test dir --device tpu", "'tpu' is not a device"),
    ("benchmark", "--output file/o", "--output: cannot write into"),
    ("benchmark", "--output o --device tpu", "'tpu' is not a device"),
    ("build_joint_prior", "", "required: step"),
    ("build_joint_prior", "build --answers none", "holds 0 answer sets"),
    ("build_joint_prior", "build --embeddings none.npz --output p.npz", "cannot read none.npz"),
    ("build_joint_prior", "build --output dir", "must end in .npz"),
    ("build_joint_prior", "ask --model m --endpoint http://localhost:1 --timeout 0", "--timeout: 0 is not above 0"),
    ("build_joint_prior", "ask --model m --import none.txt --set 1", "--import: no file none.txt"),
    ("build_open_body", "--num_train 0", "--num_train: 0 is below 20"),
    ("build_open_body", "--output file/o.npz", "--output: cannot write into"),
    ("build_pose2sim_dataset", "--output o --wheel none.whl", "--wheel: no file none.whl"),
    ("build_pose2sim_dataset", "--output o --wheel file", "not a readable wheel"),
    ("build_pose2sim_dataset", "--output file", "--output: cannot write into"),
    ("build_pose_library", "--assets none", "--assets: no folder none"),
    ("build_pose_library", "--assets dir --output o", "no folder dir/poses"),
    ("build_pose_library", "--assets dir --min_distance nan", "--min_distance: nan is not finite"),
    ("build_pose_library", "--assets dir --output o --body file", "not a readable body file"),
    ("cache_features", "--output o --num_workers 0", "--num_workers: 0 is below 1"),
    ("cache_features", "--output o --num_samples 0", "--num_samples"),
    ("cache_features", "--output o --pose2sim dir --photos dir", "are two sets"),
    ("cache_features", "--output o --occlude grey", "add --split val or test"),
    ("cache_features", "--output o --assets missing", "--assets: no folder missing"),
    ("cache_features", "--output o --photos none", "annotations.json not found"),
    ("check_dataset", "none.yaml", "none.yaml is missing"),
    ("check_dataset", "--data_root none", "data set not found"),
    ("check_dataset", "file --num_workers -1", "--num_workers: -1 is below 0"),
    ("check_dataset", "file --report dir", "--report: dir is a folder"),
    ("compare_blazepose", "--output o.json", "nothing to compare on"),
    ("compare_blazepose", "--output o.json --data_root dir", "run python scripts/build_pose2sim_dataset.py"),
    ("compare_blazepose", "--output o.json --photos none", "annotations.json not found"),
    ("compare_blazepose", "--output o.txt --photos none", "must end in .json"),
    ("convert_movenet", "--package file --output o.safetensors", "is not the archive of"),
    ("convert_movenet", "--package none.tgz", "--package: no file none.tgz"),
    ("convert_movenet", "--output o.bin", "must end in .safetensors"),
    ("convert_smpler_checkpoint", "--input none.pt --output o.pt", "--input: no file none.pt"),
    ("convert_smpler_checkpoint", "--input file --output o.pt", "file"),
    ("convert_smpler_checkpoint", "--input file --output dir", "must end in .pt"),
    ("draw_failures", "--output dir/o.png", "must end in .jpg"),
    ("draw_failures", "--output o.jpg --count 0", "--count: 0 is below 1"),
    ("draw_failures", "--output o.jpg --checkpoint none.pt", "checkpoint not found: none.pt"),
    ("draw_outputs", "--output o.jpg --img_path none.jpg", "image not found: none.jpg"),
    ("draw_outputs", "--output o.jpg --img_path dir", "no pictures or videos in folder dir"),
    ("eval_graph_terms", "--features none", "--features: no folder none"),
    ("eval_graph_terms", "--features dir --output dir", "must end in .json"),
    ("eval_graph_terms", "--features dir --checkpoint none.pt", "checkpoint not found: none.pt"),
    ("eval_occlusion", "--output file/o", "--output: cannot write into"),
    ("eval_occlusion", "--output o --yaml none.yaml", "--yaml: no file none.yaml"),
    ("eval_occlusion", "--output o --slide 0", "--slide: 0 is below 1"),
    ("eval_occlusion", "--output o --radius 2", "--radius: 2 is not below 1"),
    ("eval_occlusion", "--output o --assets none --checkpoint none.pt", "checkpoint not found: none.pt"),
    ("draw_worst", "none.npz --output o.jpg", "no file none.npz"),
    ("draw_worst", "file --output o.jpg --data_mode synthetic", "file cannot be read"),
    ("draw_worst", "file --output o.gif", "must end in .jpg or .png"),
    ("draw_worst", "file --output o.jpg --data_mode here", "--data_mode: invalid choice"),
    ("eval_photos", "--photos none --output o.json", "annotations.json not found"),
    ("export_weights", "--input none.pt --output o.safetensors", "checkpoint not found: none.pt"),
    ("export_weights", "--input none.pt --output o.safetensors --share 2", "--share 2 is above 1"),
    ("export_weights", "--input none.pt --output o.safetensors --share nan", "--share: nan is not finite"),
    ("make_synthetic_data", "--output file --num_samples 2", "--output: cannot write into"),
    ("make_synthetic_data", "--output o --num_samples 0", "--num_samples: 0 is below 1"),
    ("make_synthetic_data", "--output o --num_samples 2 --assets missing", "--assets: no folder missing"),
    ("make_synthetic_data", "--output o --num_samples 2 --body file", "body file file cannot be read"),
    ("measure_films", "--rate 0", "--rate: 0 is not above 0"),
    ("measure_motion", "--labels none.yaml", "--labels: no file none.yaml"),
    ("measure_motion", "--labels file --films 0", "--films: 0 is below 1"),
    ("measure_movenet_features", "--num_samples 0", "--num_samples: 0 is below 1"),
    ("measure_movenet_features", "--output dir", "must end in .safetensors"),
    ("plot_training", "none --output o.png", "no folder none"),
    ("plot_training", "dir --output o.gif", "must end in .png"),
    ("synthetic_statistics", "--num_samples 3", "--num_samples: 3 is below 64"),
    ("synthetic_statistics", "--output file", "--output: cannot write into"),
    ("synthetic_statistics", "--output o --movenet none", "--movenet: no file none"),
    ("synthetic_statistics", "--output o --seed -1", "--seed: -1 is below 0"),
]


@pytest.mark.parametrize(("name", "flags", "words"), CASES, ids=[f"{name} {flags}" for name, flags, _ in CASES])
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, name, flags, words):
    script = importlib.import_module(f"scripts.{name}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no data of any kind\n")
    (tmp_path / "dir").mkdir()
    monkeypatch.setattr("sys.argv", [f"{name}.py", *flags.split()])
    with pytest.raises(SystemExit) as stop:
        script.main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and words in error
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "file"]
