"""The whole site in a headless Chromium: a real coordinator, real nodes, a run that fails, and one from form to end.

The tests run in their order and share one consortium: what one does, the next ones see. A second run on the same rows
would be refused, as the first has used up their openings, so the finished run is the one proposed in the browser.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from parties.calls.settlement import SettlementQuestion
from parties.cli import run as entente
from parties.client import RunView
from parties.node.home import NodeHome
from parties.node.settlements import waiting
from tests.parties.coordinator_rig import wait_until
from tests.parties.oidc_rig import CLIENT, SECRET, Provider, provider
from tests.ui.accessibility import serious
from tests.ui.chromium import CHROMIUM, Browser, browsing
from tests.ui.site_rig import House, house, served
from ui.factor_files import FORM_TITLES
from vfl.factors.verify import verify_bundle

pytestmark = [
    pytest.mark.browser,
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install the package chromium"),
]

PURPOSE = "Proposed in the browser"
MARKUP = "<img src=x onerror=alert(1)> **bold**"

PEOPLE = """
[[desk.oidc.people]]
email = "ada@example.org"
role = "auditor"
name = "Ada of the organisation"
"""


@dataclass
class Site:
    """The page's address, the consortium behind it, and a run that failed."""

    address: str
    house: House
    failed: RunView
    issuer: Provider

    @property
    def finished(self) -> RunView:
        """The run that was proposed in the browser, once it is settled."""
        newest = self.house.client.runs(limit=1)[0]
        assert newest.status == "settled", "the form's test comes first"
        return self.house.client.run(newest.run_id)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with provider() as issuer:
        desk = f'[desk.oidc]\nissuer = "{issuer.issuer}"\naudience = "{CLIENT}"\n{PEOPLE}'
        with house(folder / "demo", desk=desk) as consortium:
            secrets, port = consortium.secrets(folder / "secrets.toml", issuer.issuer, CLIENT, SECRET)
            with served(consortium.homes.desk, secrets=secrets, port=port) as address:
                strict = {**consortium.settings.alignment.model_dump(mode="json"), "minimum_common": 100_000}
                failed = consortium.ended(consortium.propose(MARKUP, alignment=strict))
                assert failed.status == "aborted"
                yield Site(address, consortium, failed, issuer)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("chromium"), height=1400) as opened:
        yield opened


@pytest.fixture
def admin(site: Site, browser: Browser) -> Browser:
    """The browser, with an admin signed in."""
    if "Ada" not in browser.text or "/sign-in" in str(browser.value("location.pathname")):
        browser.do("Network.clearBrowserCookies")
        browser.open(f"{site.address}/sign-in?token={site.house.token('admin', 'Ada')}")
        browser.wait_for_text("Nothing is under way")
    return browser


def names(site: Site) -> tuple[str, ...]:
    """What nobody may read without a session; the consortium's name stands on the sign-in page."""
    return (site.failed.run_id[:12], site.failed.purpose, *(p.name for p in site.house.settings.party))


@pytest.mark.parametrize("page", ["", "runs", "run?run=x", "ledger", "settings", "trust", "nowhere"])
def test_a_visitor_sees_the_sign_in_page_and_nothing_else(site: Site, browser: Browser, page: str) -> None:
    browser.do("Network.clearBrowserCookies")
    browser.open(f"{site.address}/{page}")
    browser.wait_for_text("One-time token")
    assert browser.value("location.pathname") == "/sign-in"
    source = str(browser.value("document.documentElement.outerHTML"))
    assert not [name for name in names(site) if name in source]
    assert serious(browser) == []


def test_a_made_up_session_and_a_used_token_open_nothing(site: Site, browser: Browser) -> None:
    port = site.address.rpartition(":")[2]
    browser.do("Network.setCookie", name=f"entente-session-{port}", value="made-up", url=site.address)
    browser.open(f"{site.address}/runs")
    browser.wait_for_text("Your session has ended")
    assert not [name for name in names(site) if name in browser.text]
    token = site.house.token("reader", "Ben")
    browser.fill("One-time token", token)
    browser.wait_for_text("Ben")
    browser.do("Network.clearBrowserCookies")
    browser.open(f"{site.address}/sign-in?token={token}")
    browser.wait_for_text("was used already")
    assert not browser.do("Network.getCookies", urls=[site.address])["cookies"][1:]


def test_a_token_signs_in_leaves_the_address_and_outlives_a_reload(site: Site, admin: Browser) -> None:
    assert admin.value("location.pathname + location.search") == "/"
    held = {cookie["name"]: cookie for cookie in admin.do("Network.getCookies", urls=[site.address])["cookies"]}
    mine = next(cookie for name, cookie in held.items() if name.startswith("entente-session"))
    assert mine["httpOnly"]
    assert mine["sameSite"] == "Lax"
    assert not admin.value(f"document.cookie.includes({mine['value']!r})")
    admin.value("window.before = true")
    admin.do("Page.reload")
    admin.wait_for("!window.before && document.body && document.body.innerText.includes('Ada')")


def test_a_run_is_proposed_from_the_form_and_watched_to_its_end(site: Site, admin: Browser) -> None:
    admin.open(f"{site.address}/new_run?like={site.failed.run_id}")
    admin.wait_for_text("These terms hold together", seconds=60)
    admin.fill("Purpose", PURPOSE)
    admin.settled()  # as fast as a person, not faster: what follows acts on what the form has taken
    admin.click("2 Time")
    admin.settled()
    admin.fill("Fewest in common", "30")
    admin.settled()
    admin.wait_for_text("These terms hold together")
    admin.click("Propose")
    admin.wait_for_text("This is what each party")
    admin.wait_for("document.querySelectorAll('[role=dialog] li').length > 3")
    admin.value(
        "[...document.querySelectorAll('[role=dialog] button')].find(b => b.innerText.includes('Propose')).click()"
    )
    admin.wait_for("location.pathname === '/run' && location.search.length > 20")
    run_id = str(admin.value("new URLSearchParams(location.search).get('run')"))
    admin.wait_for_text(PURPOSE)
    admin.wait_for("/rows\\/s|aligning|training/.test(document.body.innerText)", seconds=60)
    assert not site.house.client.run(run_id).ended, "watched while it runs"
    assert site.house.ended(run_id).status == "settled"
    admin.wait_for("/settled/.test(document.body.innerText)", seconds=60)
    signers = {signature.party for signature in site.finished.signatures}
    assert signers == set(site.finished.parties), "the nodes signed; the page holds no key"
    assert ("Ada", "done") in {(a.name, a.outcome) for a in site.house.client.actions().actions if "propose" in a.what}


def test_a_failed_run_gives_the_reason_and_obeys_no_markup(site: Site, admin: Browser) -> None:
    admin.open(f"{site.address}/run?run={site.failed.run_id}")
    admin.wait_for_text("data cannot be used")
    assert MARKUP in admin.text
    assert not admin.value("!!document.querySelector('img[src=x]')")


def test_a_factor_is_verified_and_its_download_verifies_again(site: Site, admin: Browser) -> None:
    admin.open(f"{site.address}/factor?run={site.finished.run_id}&section=Files")
    admin.wait_for_text("files are as signed by", seconds=60)
    admin.click(FORM_TITLES["zip"])
    end = time.monotonic() + 30
    while not (found := list(admin.downloads.glob("*.zip"))):
        assert time.monotonic() < end, list(admin.downloads.iterdir())
        time.sleep(0.1)
    label = site.finished.label_party
    key = bytes.fromhex(site.house.homes.roster.member(label).identity_key)
    assert verify_bundle(unpacked(found[0]), trusted={label: key}).authentic


def unpacked(archive: Path) -> dict[str, bytes]:
    """The files of a bundle by their names in it."""
    with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as bundle:
        files = {info.filename: bundle.read(info) for info in bundle.infolist() if not info.is_dir()}
    root = next(name for name in files if name.endswith("SHA256SUMS")).removesuffix("SHA256SUMS")
    return {name.removeprefix(root): data for name, data in files.items()}


def test_a_settlement_is_dry_run_asked_for_and_approved_by_two_people(
    site: Site, admin: Browser, tmp_path: Path
) -> None:
    run, client, homes = site.finished, site.house.client, site.house.homes
    label, feature = run.label_party, next(name for name in run.parties if name != run.label_party)
    attest(site, run, tmp_path / "live.json")
    before = client.books()
    assert before.unresolved == 1, "booked and pending"
    admin.open(f"{site.address}/settlement")
    admin.wait_for_text("What would be posted")
    admin.wait_for_text("2 different people of admin, ")
    admin.click("Ask for approval: finalise")
    admin.wait_for_text("0 of 2 approvals")
    assert client.books().digest == before.digest, "neither the dry run nor asking posts anything"
    digest = client.settlements(SettlementQuestion()).dossiers[0].digest
    approve(homes.party(label), digest, f"{label}-cfo")
    admin.wait_for_text("1 of 2 approvals")
    admin.wait_for_text(f"{label}: approved")
    assert client.books().digest == before.digest, "one approval is not two"
    approve(homes.party(feature), digest, f"{feature}-cfo")
    wait_until(lambda: client.books().digest != before.digest, "the second approval posts it")
    admin.open(f"{site.address}/settlement")
    admin.wait_for_text("Asked for before")
    for name in (label, feature):
        admin.wait_for_text(f"{name}: approved")
    (settled,) = client.settlements(SettlementQuestion(run_id=run.run_id)).runs
    assert settled.state == "final"
    admin.open(f"{site.address}/ledger")
    admin.wait_for_text("balanced")
    books = client.verify_books()
    assert books.complete
    assert books.balanced
    assert books.unresolved == 0
    rewards = [account for account in client.balances().accounts if account.kind in ("Pending", "Payable")]
    assert sum(account.posted for account in rewards if account.kind == "Payable") == settled.amount > 0
    assert [account.pending for account in rewards] == [0] * len(rewards)


def approve(home: Path, digest: str, who: str) -> None:
    """An operator approves at the party's own node, once it is asked."""
    node = NodeHome(home)
    wait_until(lambda: [one.asked.dossier.digest for one in waiting(node)] == [digest], f"{home.name}'s node is asked")
    assert entente(["settle", "approve", digest[:12], "--home", str(home), "--as", who, "--yes"]) == 0


def attest(site: Site, run: RunView, file: Path) -> None:
    """The label party's operator attests live periods of the run, and the coordinator has them."""
    live = [f"live-{number}" for number in range(1, 5)]
    parties = {name: {"phi": 0.5, "standard_error": 0.0} for name in run.parties if name != run.label_party}
    body = {"run_id": run.run_id, "periods": live, "contribution": {"method": "masked", "parties": parties}}
    file.write_text(json.dumps(body), encoding="utf-8")
    assert entente(["settle", "attest", str(file), "--home", str(site.house.homes.party(run.label_party))]) == 0
    question = SettlementQuestion(run_id=run.run_id)
    wait_until(
        lambda: site.house.client.settlements(question).runs[0].live_periods == len(live), "its node sends the record"
    )


def test_the_audit_log_verifies(site: Site, admin: Browser) -> None:
    admin.open(f"{site.address}/trust")
    admin.click("Verify now")
    admin.wait_for_text("The log is sound", seconds=60)


def test_what_people_did_is_on_record(site: Site, admin: Browser) -> None:
    admin.open(f"{site.address}/settings")
    admin.wait_for_text("Time zone")
    found = site.house.client.actions()
    assert any(action.outcome.startswith("refused") for action in found.actions), "the used token"
    assert {"Ada", "Ben"} <= {action.name for action in found.actions}


def test_no_page_has_a_serious_accessibility_finding(site: Site, admin: Browser) -> None:
    run = f"?run={site.finished.run_id}"
    faults = {}
    for page in ("", "runs", "new_run", f"run{run}", "factors", f"factor{run}", "contributions", "ledger", "settlement",
                 "members", "trust", "guides", "settings"):  # fmt: skip
        admin.open(f"{site.address}/{page}")
        admin.wait_for_text("Sign out")
        for theme in ("light", "dark"):
            admin.theme(theme)
            admin.settled(seconds=60)
            faults[page, theme] = serious(admin)
    admin.theme("light")
    assert {page: found for page, found in faults.items() if found} == {}


def test_a_reader_is_refused_where_the_role_forbids(site: Site, browser: Browser) -> None:
    browser.do("Network.clearBrowserCookies")
    browser.open(f"{site.address}/sign-in?token={site.house.token('reader', 'Ben')}")
    browser.wait_for_text("Ben")
    browser.wait_for_text("Best rank IC")
    shown = str(browser.value("document.querySelector('[data-testid=stSidebarNav]').innerText"))
    assert not {"New run", "Trust"} & set(shown.split("\n"))
    browser.open(f"{site.address}/new_run")
    browser.wait_for_text("Not for the role reader")
    assert not browser.value("[...document.querySelectorAll('button')].some(b => b.innerText.includes('Propose'))")


def test_sign_out_ends_the_session_for_good(site: Site, browser: Browser) -> None:
    browser.open(site.address)
    browser.wait_for_text("Sign out")
    cookies = browser.do("Network.getCookies", urls=[site.address])["cookies"]
    browser.click("Sign out")
    browser.wait_for_text("You have signed out")
    for cookie in cookies:
        browser.do("Network.setCookie", name=cookie["name"], value=cookie["value"], url=site.address)
    browser.open(site.address)
    browser.wait_for_text("Your session has ended")


def test_an_organisations_account_gets_the_coordinators_role(site: Site, browser: Browser) -> None:
    browser.do("Network.clearBrowserCookies")
    browser.open(site.address)
    browser.wait_for_text("Sign in with your organisation")
    browser.value("document.querySelector('a.button').click()")
    browser.wait_for_text("Ada of the organisation", seconds=60)
    assert "auditor" in browser.text
    assert "/token" in site.issuer.asked
    browser.do("Page.reload")
    browser.wait_for_text("Ada of the organisation")


def test_an_account_without_a_role_is_refused_by_name(site: Site, browser: Browser) -> None:
    browser.do("Network.clearBrowserCookies")
    site.issuer.claims = {"email": "eve@example.org"}
    browser.open(f"{site.address}/?provider=oidc")
    browser.wait_for_text("One-time token")  # no browser goes to the provider before it has its nonce
    browser.value("document.querySelector('a.button').click()")
    browser.wait_for_text("has no role here", seconds=60)
    assert not [name for name in names(site) if name in browser.text]
