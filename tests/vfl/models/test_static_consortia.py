"""The benchmark that writes a consortium of static data: a wrong folder is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import a9a, static_consortia


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_the_data_is_named_with_the_file_that_is_missing(
    made: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "there" if made else tmp_path / "nowhere"
    if made:
        folder.mkdir()
    for run in (lambda: static_consortia.main([str(folder), str(tmp_path / "out")]), lambda: a9a.main([str(folder)])):
        with pytest.raises(SystemExit, match="1"):
            run()
        assert capsys.readouterr().out.startswith(f"{folder} has no a9a_vertical_p0.libsvm.gz: name the folder")
    assert not (tmp_path / "out").exists()


def test_a_reference_without_a_consortium_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        static_consortia.main(["--reference", str(tmp_path / "consortium.toml"), str(tmp_path)])
    assert str(tmp_path / "consortium.toml") in capsys.readouterr().out
