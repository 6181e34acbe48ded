"""Groups in a new run's form: what members declare begins it, and its terms are those of a file with the same lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from parties.agreement.group_terms import GroupTerms
from parties.files.toml import read_toml
from parties.proposing.drafting import load_proposal, offered_terms
from parties.settings.consortium import EncoderSettings
from parties.settings.toml_text import to_toml
from tests.ui.pages_rig import button, said, show
from tests.ui.sample import SampleClient
from tests.ui.sample_lenders import EXAMPLE, GROUP, LENDERS, lenders
from tests.ui.test_new_run import field, labels_of, new_run_page
from ui import run_form
from ui.group_form import GROUP_FIELDS, GROUPS, group_from, group_values
from vfl.expansion_terms import ExpansionSettings, ExpansionShape


@pytest.fixture
def client() -> Iterator[SampleClient]:
    with mock.patch("tests.ui.sample_runs.members", return_value=lenders()):
        yield SampleClient()


def test_the_groups_that_nodes_declare_begin_the_form_and_hold_together(client: SampleClient) -> None:
    app = show(new_run_page, client, [])
    assert not app.error, app.error[0].value
    assert field(app, "Name of the group").value == "lenders"
    assert field(app, "Members").value == list(LENDERS)
    assert (field(app, "Window, periods").value, field(app, "Fitted on the first periods").value) == (6, 28)
    assert "Group lenders\\: orbit\\, chatter\\, till\\, kart train one encoder" not in said(app)
    assert "It opens the sums of group lenders" in said(app)
    field(app, "Feature parties").set_value(["orbit", "chatter"]).run()
    assert "group lenders needs 3 members" in app.error[0].value
    assert not app.exception


def test_the_pages_terms_are_those_of_a_file_with_the_same_lines(client: SampleClient, tmp_path: Path) -> None:
    app = show(new_run_page, client, [])
    for label, value in (
        ("Rounds", 10), ("Passes at home", 4), ("An entity that a member lacks", "zeros"), ("Learning rate", 0.03),
        ("Noise, in clips", 1.5), ("Members count", "equal"), ("Share of members a round", 0.9),
        ("Decoder stays at home", True), ("Fewest members of a sum", 3),
    ):  # fmt: skip
        field(app, label).set_value(value).run()
    assert "must be more than half" not in said(app)
    field(app, "Delta").set_value(1e-4).run()
    assert not app.error, app.error[0].value
    question, draft = app.session_state["draft"]
    written = tmp_path / "terms.toml"
    base = {key: value for key, value in client.run_templates()[0].terms.items() if key != "group"}
    shape = to_toml({"encoder": read_toml(EXAMPLE, "")["group"][0]["encoder"]}).replace("[encoder]", "[group.encoder]")
    written.write_text(
        f'{to_toml(base)}\n[[group]]\nname = "lenders"\nmembers = ["orbit", "chatter", "till"]\nrounds = 10\n'
        'local_epochs = 4\nabsent = "zeros"\nlearning_rate = 0.03\nnoise = 1.5\nweights = "equal"\nsampled = 0.9\n'
        f"personal_head = true\nthreshold = 3\ndelta = 0.0001\n{shape}"
    )
    by_hand = load_proposal(written, lenders())
    assert by_hand == offered_terms(question.terms, lenders())
    assert draft.agreement["groups"] == [by_hand.group[0].model_dump(mode="json")]


def test_a_group_is_taken_out_and_put_together_from_those_with_the_same_columns(client: SampleClient) -> None:
    app = show(new_run_page, client, [])
    button(app, "Take this group out").click().run()
    assert "group" not in app.session_state["draft"][0].terms
    button(app, "Add a group").click().run()
    assert not app.exception
    assert field(app, "Members").value == list(LENDERS)
    assert "does not offer the codes of group group" in app.error[0].value
    assert [text.value for text in app.markdown if ":red[" in text.value]
    field(app, "Model").set_value("screen").run()
    assert "Name of the group" not in labels_of(app)
    assert "group" not in app.session_state["draft"][0].terms


def test_a_fault_stands_at_its_input_and_the_panel_names_it(client: SampleClient) -> None:
    app = show(new_run_page, client, [])
    field(app, "Noise, in clips").set_value(1.0).run()
    (fault,) = [text.value for text in app.markdown if ":red[" in text.value]
    assert "set group\\.weights" in fault
    assert run_form.section_of("group.0.noise") == "who"
    assert run_form.label_at("groups.threshold") == "Fewest members of a sum"


def test_every_term_of_a_group_is_a_field_and_values_and_terms_are_inverse() -> None:
    """So a term that is added comes by itself; in a form of its own order, with no choice that the terms refuse."""
    inner = set(EncoderSettings().shape.model_dump())
    paths = {path for name in GroupTerms.model_fields for path in
             ([f"encoder.{one}" for one in inner] if name == "encoder" else [name])}  # fmt: skip
    trees = {"trees", "depth"}  # which no group may have
    paths |= {f"expand.{one}" for one in ExpansionShape.model_fields if one not in trees}
    assert {one.path for one in GROUP_FIELDS} == paths
    table: dict[str, Any] = read_toml(EXAMPLE, "")["group"][0] | {"expand": {"fourier": 32, "outputs": 8}}
    again = group_from(table, group_values(table))
    assert GroupTerms.model_validate(again) == GroupTerms.model_validate(table)
    assert group_values(again) == group_values(table)
    assert run_form.terms_from({}, {"model.kind": "sealed", GROUPS: [(table, group_values(table))]})["group"] == [again]
    assert "expand" not in group_from(table, group_values(table) | {"expand": False})
    bins = table | {"expand": {"bins": 8, "outputs": 4}}
    assert group_values(bins)["expand.fourier"] == 0, "what a table leaves out is the schema's, not that of a new one"


def test_an_expansion_is_fitted_together_as_a_file_with_the_same_lines_says(tmp_path: Path) -> None:
    """The nodes declare it, so it begins the form; it can be taken out, changed, and switched on anew."""
    offers = lenders(ExpansionSettings(group=GROUP, fourier=32, outputs=8, fit_periods=28))
    with mock.patch("tests.ui.sample_runs.members", return_value=offers):
        client = SampleClient()
    app = show(new_run_page, client, [])
    assert not app.error, app.error[0].value
    assert (field(app, "Shared expansion").value, field(app, "Random Fourier features").value) == (True, 32)
    field(app, "Bins of a column").set_value(4).run()
    assert not app.error, app.error[0].value
    question, draft = app.session_state["draft"]
    base = {key: value for key, value in client.run_templates()[0].terms.items() if key != "group"}
    shape = to_toml({"encoder": read_toml(EXAMPLE, "")["group"][0]["encoder"]}).replace("[encoder]", "[group.encoder]")
    written = tmp_path / "terms.toml"
    written.write_text(
        f'{to_toml(base)}\n[[group]]\nname = "lenders"\nmembers = ["orbit", "chatter", "till"]\n{shape}\n'
        "[group.expand]\nfourier = 32\nbins = 4\noutputs = 8\nfit_periods = 28\n"
    )
    assert load_proposal(written, offers) == offered_terms(question.terms, offers)
    assert draft.agreement["groups"][0]["expand"]["bins"] == 4
    assert "fit one expansion of their columns" in " ".join(line for part in draft.text for line in part.lines)
    field(app, "Shared expansion").set_value(False).run()
    assert "Random Fourier features" not in labels_of(app)
    (fault,) = [text.value for text in app.markdown if ":red[" in text.value]
    assert "do not agree" in fault


def test_an_expansion_that_is_switched_on_makes_something(client: SampleClient) -> None:
    app = show(new_run_page, client, [])
    field(app, "Shared expansion").set_value(True).run()
    assert "do not agree" in app.error[0].value, "these members' nodes declare none"
    assert app.session_state["draft"][0].terms["group"][0]["expand"] | {"seed": 0} == {
        "fourier": 32, "outputs": 8, "bins": 0, "hinges": False, "columns": [], "fit_periods": 8, "seed": 0,
    }  # fmt: skip
