"""``entente factors key|seal|open|reissue``: factors on their way to those who may read them, version by version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.checks import Folder
from parties.cli.joining import KeyFile, PlainKeys, use_key_file
from parties.cli.judging import app
from parties.errors import AgreementError, ConfigError, DataError, StorageError
from parties.plurals import things
from parties.terminal.console import say

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from parties.agreement.document import Agreement
    from parties.factor.sealing import Cover
    from parties.members.keys import Identity

__all__ = ["app", "factors_key", "factors_open", "factors_reissue", "factors_seal"]

Home = Annotated[Path, typer.Option("--home", help="Folder of the label party's node.")]
Sealed = Annotated[Path | None, typer.Option("--sealed", metavar="FOLDER", help="By default HOME/sealed.")]


@app.command("key")
def factors_key(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the private key. Keep it.")],
    name: Annotated[str, typer.Option("--name", help="What the agreement is to call you.")] = "reader",
    key_file: KeyFile = None,
    plain_keys: PlainKeys = False,
) -> None:
    """Make a key for reading sealed factors without running a node; prints the public half for the agreement."""
    from parties.factor.sealing import reading_public_key
    from parties.members.keys import create_reading_key
    from parties.members.passphrase import new_passphrase

    use_key_file(key_file)
    key = create_reading_key(out, new_passphrase(plain=plain_keys))
    say(
        f"{out} is written; who has it can read what is sealed for you. For consortium.toml:",
        "[readers]",
        f'{name} = "{reading_public_key(key)}"',
        "Read the number out to the label party's operator on another channel before they sign.",
    )


@app.command("seal")
def factors_seal(
    folder: Folder,
    home: Home,
    names: Annotated[
        list[str] | None, typer.Option("--for", metavar="NAME", help="Only for these; by default for all agreed.")
    ] = None,
    sealed: Sealed = None,
    key_file: KeyFile = None,
) -> None:
    """Seal a bundle for its agreed recipients, one file each, which nobody else can open."""
    from parties.factor.tables import open_folder

    use_key_file(key_file)
    identity, agreement = _label_party(home, open_folder(folder).metadata["run_id"])
    _seal(folder, home, identity, agreement, names or (), sealed)


@app.command("reissue")
def factors_reissue(
    folder: Folder,
    home: Home,
    why: Annotated[str, typer.Option("--why", help="The reason, which every recipient reads.")],
    sealed: Sealed = None,
    key_file: KeyFile = None,
) -> None:
    """Issue a bundle again under a new version that says what it supersedes and why. The old version stays."""
    from parties.audit.bundles import log_export
    from parties.factor.delivery import bundle_digest, next_version, read_bundle, store_bundle
    from parties.factor.tables import open_folder, superseding
    from parties.node.home import NodeHome
    from vfl.factors.export import Signer, reissue_bundle

    use_key_file(key_file)
    bundle = open_folder(folder)
    if not why.strip():
        raise ConfigError("say why with --why TEXT: every recipient reads it")
    identity, agreement = _label_party(home, bundle.metadata["run_id"])
    if identity.name not in bundle.signers:
        raise DataError(f"{folder}: not signed by {identity.name}; reissue what this node made")
    place = home / "factors" / bundle.metadata["factor_id"]
    if folder.resolve().parent != place.resolve():
        raise ConfigError(f"{folder}: is not among this node's factors; name the version below {place}")
    newer = superseding(folder)
    if newer:
        raise ConfigError(f"{folder}: is superseded by version {newer}; reissue that one")
    version = next_version(folder)
    signer = Signer(identity.name, bytes.fromhex(identity.public_key), identity.key.sign)
    made = reissue_bundle(read_bundle(folder), signer, version=version, why=why)
    with NodeHome(home).audit() as log:
        made = log_export(log, agreement.run_id, made, bundle.metadata["factor_id"], version)
    stored = store_bundle(home / "factors", made)
    say(f"{stored} is version {version}, {bundle_digest(made)[:16]}...; version {folder.name} stays beside it.")
    _seal(stored, home, identity, agreement, (), sealed)


@app.command("open")
def factors_open(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sealed factor.")],
    home: Annotated[Path | None, typer.Option("--home", help="Folder of your node, whose key opens it.")] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Without a node: what entente factors key wrote.")
    ] = None,
    agreement: Annotated[
        Path | None, typer.Option("--agreement", metavar="FILE", help="agreement.json of the run: who may seal what.")
    ] = None,
    roster: Annotated[
        Path | None, typer.Option("--roster", metavar="FILE", help="Instead of it: roster.json with the sender's key.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where factors go; by default HOME/factors, factors.")
    ] = None,
    key_file: KeyFile = None,
) -> None:
    """Open a sealed factor offline, check who sealed it and every file in it, and keep it under its version."""
    from parties.factor.delivery import open_sealed, store_bundle
    from parties.factor.tables import superseding

    use_key_file(key_file)
    if (home is None) == (key is None):
        raise ConfigError("say whose key opens it: --home DIR of your node, or --key FILE")
    if home is not None and agreement is None and roster is None:
        agreement = _own_agreement(home, file)
    if (agreement is None) == (roster is None):
        raise ConfigError("say how you know who may seal it: --agreement FILE of the run, or --roster FILE")
    terms = None if agreement is None else _read_agreement(agreement)
    mine, reader = _own_key(home, key)
    cover, files = open_sealed(file, mine, lambda found: _sender_key(found, terms, roster), terms, reader)
    stored = store_bundle(out or (Path("factors") if home is None else home / "factors"), files)
    say(
        f"{stored}: factor {cover.factor_id}, version {cover.version}, sealed by {cover.sender} for {cover.reader} "
        f"under the agreement {cover.run_id[:12]}; {things(len(files), 'files')} are as signed."
    )
    newer = superseding(stored)
    if newer:
        say(f"warning: version {newer}, which is here already, supersedes it")


def _seal(
    folder: Path,
    home: Path,
    identity: Identity,
    agreement: Agreement,
    only: list[str] | tuple[str, ...],
    sealed: Path | None,
) -> None:
    from parties.factor.delivery import read_bundle, reading_keys, write_sealed
    from parties.members.roster import Roster
    from parties.node.home import NodeHome
    from vfl.factors.verify import verify_bundle

    files = read_bundle(folder)
    if not verify_bundle(files, trusted={identity.name: bytes.fromhex(identity.public_key)}).authentic:
        raise DataError(f"{folder}: not signed by {identity.name}; seal what this node made")
    keys = reading_keys(agreement, Roster.load(home / "roster.json"), only)
    with NodeHome(home).audit() as log:
        for path in write_sealed(sealed or home / "sealed", agreement, identity, keys, files, log):
            say(f"{path} is sealed; nobody but its reader can open it.")
    if not keys:
        say("The agreement names no other recipient: nothing is sealed.")


def _label_party(home: Path, run_id: str) -> tuple[Identity, Agreement]:
    """This node's identity and its copy of the run's agreement, in which it must be the label party."""
    from parties.members.keys import load_identity
    from parties.node.settings import load_node_settings

    name = load_node_settings(home / "node.toml").party.name
    agreement = _read_agreement(home / "runs" / run_id / "agreement.json")
    if agreement.label.party != name:
        raise AgreementError(f"{name} is not the label party of run {run_id[:12]}: {agreement.label.party} seals it")
    return load_identity(name, home / "keys"), agreement


def _read_agreement(path: Path) -> Agreement:
    from parties.agreement.document import Agreement

    try:
        return Agreement.model_validate_json(path.read_bytes())
    except OSError:
        raise ConfigError(f"{path}: cannot be read; name the run's agreement.json") from None
    except ValueError:
        raise StorageError(f"{path}: no agreement that this version can read; ask a party of the run for it") from None


def _own_agreement(home: Path, file: Path) -> Path:
    """The node's own copy of the agreement that the file names."""
    from parties.factor.sealing import cover_of

    try:
        run_id = cover_of(file.read_bytes()).run_id
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); name a sealed factor") from None
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None
    path = home / "runs" / run_id / "agreement.json"
    if not path.is_file():
        raise ConfigError(
            f"{file}: is sealed under the agreement {run_id[:12]}, of which this home has no copy: name it with "
            "--agreement FILE, or --roster FILE"
        )
    return path


def _own_key(home: Path | None, key: Path | None) -> tuple[X25519PrivateKey, str]:
    """What opens files here, and the name they must be sealed for where that is known."""
    from parties.factor.sealing import reading_key
    from parties.members.keys import load_identity, load_reading_key
    from parties.names import COORDINATOR
    from parties.node.settings import load_node_settings

    if home is None:
        assert key is not None
        return load_reading_key(key), ""
    node = home / "node.toml"
    name = load_node_settings(node).party.name if node.is_file() else COORDINATOR
    return reading_key(load_identity(name, home / "keys").key), name


def _sender_key(cover: Cover, agreement: Agreement | None, roster: Path | None) -> str:
    """The identity key (hex) of whoever the cover names, from where the reader trusts."""
    from parties.members.roster import Roster

    if agreement is not None:
        return agreement.party(agreement.label.party).identity_key
    assert roster is not None
    return Roster.load(roster).member(cover.sender).identity_key
