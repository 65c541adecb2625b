"""Work is done again exactly when something that it depends on, or that it left, has changed."""

import json

import pytest

from spikeloom.common.cache import code_hash, kept, versions


class Work:
    """Writes a file and counts its calls."""

    def __init__(self, folder):
        self.output, self.record, self.calls = folder / "output", folder / "record.json", 0

    def __call__(self):
        self.calls += 1
        self.output.write_text("output")
        return {"calls": self.calls, "pair": (1, 2)}

    def kept(self, **inputs):
        return kept(self.record, inputs={"size": (4, 4)} | inputs, outputs=[self.output], make=self)


def test_kept_until_an_input_changes(tmp_path):
    work = Work(tmp_path)
    first, again, other = work.kept(), work.kept(), work.kept(more=1)
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert first.result == again.result == {"calls": 1, "pair": [1, 2]} and other.result["calls"] == 2
    assert again.seconds == first.seconds


@pytest.mark.parametrize("spoil", ["alter", "remove", "cut record", "other record", "old record"])
def test_what_is_not_whole_is_made_again(spoil, tmp_path):
    work = Work(tmp_path)
    work.kept()
    if spoil == "alter":
        work.output.write_text("outpux")
    elif spoil == "remove":
        work.output.unlink()
    elif spoil == "cut record":
        work.record.write_text(work.record.read_text()[:-10])
    elif spoil == "other record":
        work.record.write_text("[1, 2]")
    else:
        work.record.write_text(json.dumps(json.loads(work.record.read_text()) | {"format": 0}))
    assert not work.kept().cached and work.kept().cached
    assert work.calls == 2


def test_failed_work_leaves_no_record(tmp_path):
    work = Work(tmp_path)
    work.kept()

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(work.record, inputs={}, make=fail)
    assert not work.record.exists()


def test_what_identifies_the_program():
    assert code_hash("rtl") != code_hash("gen") != code_hash("rtl", "gen")
    with pytest.raises(ValueError, match="no sources below 'nothing'"):
        code_hash("nothing")
    assert versions("pytest") == {"pytest": pytest.__version__}
