"""Tor's control port: replies from bytes, and whole conversations with a server that plays Tor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from btcnode.net.proxy import tor_control, tor_reply
from btcnode.net.proxy.tor_control import NEW_KEY, TorController, TorPlan
from btcnode.net.proxy.tor_reply import (
    MAX_LINE_LENGTH,
    MAX_LINES,
    MAX_REPLY_LENGTH,
    Reply,
    ReplyReader,
    TorControlError,
)
from btcnode.settings.addresses import ProxyAddress
from btcnode.wire.netaddr import NetAddress

SERVICE = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd"
ONION = NetAddress.from_host(f"{SERVICE}.onion", 8333)


def test_replies_in_any_pieces() -> None:
    data = b"250-AUTH METHODS=NULL\r\n250 OK\r\n650 ASYNC\r\n\r\n514 no\r\n250 half"
    reader = ReplyReader()
    found = [reply for byte in data for reply in reader.feed(bytes((byte,)))]
    assert found == [Reply(250, ["AUTH METHODS=NULL", "OK"]), Reply(514, ["no"])]
    assert reader.feed(b"\n") == [Reply(250, ["half"])]


def test_limits_of_a_reply() -> None:
    reader = ReplyReader()
    assert reader.feed(b"250-" + b"A" * (MAX_LINE_LENGTH - 5) + b"\r\n") == []
    with pytest.raises(TorControlError, match="more than"):
        reader.feed(b"250-" + b"A" * (MAX_LINE_LENGTH - 4) + b"\r\n")
    with pytest.raises(TorControlError, match="more than"):
        ReplyReader().feed(b"2" * (MAX_LINE_LENGTH + 1))
    reader = ReplyReader()
    assert len(reader.feed(b"250-on\r\n" * (MAX_LINES - 1) + b"250 OK\r\n")) == 1
    with pytest.raises(TorControlError, match="exceeded 1000 lines"):
        reader.feed(b"250-on\r\n" * (MAX_LINES + 1))
    reader, line = ReplyReader(), b"250-" + b"A" * 1000 + b"\r\n"
    with pytest.raises(TorControlError, match="characters"):
        reader.feed(line * (MAX_REPLY_LENGTH // 1000))
    assert len(ReplyReader().feed((line * 100 + b"250 OK\r\n") * 4)) == 4  # of one reply, not of all


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('METHODS=COOKIE,SAFECOOKIE COOKIEFILE="/a b"', {"METHODS": "COOKIE,SAFECOOKIE", "COOKIEFILE": "/a b"}),
        ('Foo=Bar=Baz Spam="Eggs"', {"Foo": "Bar=Baz", "Spam": "Eggs"}),
        (r'A="\"\\\n\t\r\x"', {"A": '"\\\n\t\rx'}),
        (r'A="\1\12\123\377\400\1234\08"', {"A": "\1\12\123\377\0400\1234\0" + "8"}),
        ("A=1 optional words", {"A": "1"}),
        ("A=1 optional", {}),
        ('A="open', {}),
        ('A="open\\"', {}),
        ("A", {}),
        ("", {}),
        ("A=", {"A": ""}),
    ],
)
def test_words_of_a_line(text: str, values: dict[str, str]) -> None:
    assert tor_reply.parse_mapping(text) == values


def test_what_is_quoted_is_read_back() -> None:
    for text in ("", 'a"b\\', "\\\\", "plain"):
        assert tor_reply.parse_mapping(f"A={tor_reply.quote(text)}") == {"A": text}


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ('net/listeners/socks="127.0.0.1:9050"', "127.0.0.1:9050"),
        ('net/listeners/socks="10.0.0.1:1" "127.0.0.1:2"', "127.0.0.1:2"),
        ('net/listeners/socks="unix:/run/tor"', "unix:/run/tor"),
        ("net/listeners/socks=", None),
        ("other=1", None),
    ],
)
def test_where_the_proxy_listens(line: str, where: str | None) -> None:
    found = tor_reply.socks_listener(Reply(250, [line, "OK"]))
    assert (str(found) if found is not None else None) == where
    assert found is None or found.randomize


class Tor:
    """Plays Tor: ``answers`` by the beginning of a command; a conversation ends when there is none."""

    def __init__(self, answers: dict[str, str | Callable[[str], str]]) -> None:
        self.answers = answers
        self.heard: list[str] = []
        self.conversations = 0
        self.proxies: list[str] = []
        self.services: list[tuple[str, NetAddress]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.conversations += 1
        while line := (await reader.readline()).decode().rstrip():
            self.heard.append(line)
            answer = next((text for start, text in self.answers.items() if line.startswith(start)), None)
            if answer is None:
                break
            writer.write((answer if isinstance(answer, str) else answer(line)).encode())
        writer.close()

    async def talk(self, key_file: Path, done: Callable[[], bool], *, password: str = "", learn: bool = True) -> None:
        """Let a controller talk to us until ``done``."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        controller = TorController(
            TorPlan(
                control=ProxyAddress("127.0.0.1", server.sockets[0].getsockname()[1]),
                target="127.0.0.1:8334",
                virtual_port=8333,
                key_file=key_file,
                password=password,
                learn_proxy=learn,
            ),
            found_proxy=lambda proxy: self.proxies.append(str(proxy)),
            service_up=lambda address: self.services.append(("up", address)),
            service_down=lambda address: self.services.append(("down", address)),
        )
        controller.start()
        async with asyncio.timeout(20):
            while not done():  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.01)
        await controller.close()
        server.close()


OK = "250 OK\r\n"
ADDED = f"250-ServiceID={SERVICE}\r\n250-PrivateKey=ED25519-V3:secret\r\n250 OK\r\n"
OPEN = '250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250-VERSION Tor="0.4"\r\n250 OK\r\n'
PLAIN: dict[str, str | Callable[[str], str]] = {
    "PROTOCOLINFO": OPEN, "AUTHENTICATE": OK,
    "GETINFO": '250-net/listeners/socks="127.0.0.1:9150"\r\n250 OK\r\n', "ADD_ONION": ADDED,
}  # fmt: skip


def test_a_service_and_its_key(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    tor = Tor(PLAIN)
    asyncio.run(tor.talk(key_file, lambda: bool(tor.services)))
    assert tor.heard == [
        "PROTOCOLINFO 1",
        "AUTHENTICATE",
        "GETINFO net/listeners/socks",
        f"ADD_ONION {NEW_KEY} PoWDefensesEnabled=1 Port=8333,127.0.0.1:8334",
    ]
    assert tor.proxies == ["127.0.0.1:9150"]
    assert tor.services == [("up", ONION), ("down", ONION)]  # down: the controller was closed
    assert key_file.read_text() == "ED25519-V3:secret"
    assert key_file.stat().st_mode & 0o777 == 0o600

    again = Tor({**PLAIN, "ADD_ONION": f"250-ServiceID={SERVICE}\r\n250 OK\r\n"})
    asyncio.run(again.talk(key_file, lambda: bool(again.services), learn=False))
    assert again.heard[2] == "ADD_ONION ED25519-V3:secret PoWDefensesEnabled=1 Port=8333,127.0.0.1:8334"
    assert again.proxies == []
    assert key_file.read_text() == "ED25519-V3:secret"


def test_a_stored_key_that_would_be_a_command(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("ED25519-V3:a Port=1,evil:1\r\nSIGNAL HALT")
    tor = Tor(PLAIN)
    asyncio.run(tor.talk(key_file, lambda: bool(tor.services)))
    assert tor.heard[3].startswith(f"ADD_ONION {NEW_KEY} ")


def test_a_tor_without_defences_against_floods(tmp_path: Path) -> None:
    tor = Tor({**PLAIN, "ADD_ONION": lambda line: "512 no\r\n" if "PoW" in line else ADDED})
    asyncio.run(tor.talk(tmp_path / "key", lambda: bool(tor.services)))
    assert tor.heard[-1] == f"ADD_ONION {NEW_KEY} Port=8333,127.0.0.1:8334"


def test_password(tmp_path: Path) -> None:
    hashed = "250-AUTH METHODS=HASHEDPASSWORD\r\n250 OK\r\n"
    tor = Tor({**PLAIN, "PROTOCOLINFO": hashed})
    asyncio.run(tor.talk(tmp_path / "key", lambda: bool(tor.services), password='a"b'))
    assert tor.heard[1] == 'AUTHENTICATE "a\\"b"'
    silent = Tor({**PLAIN, "PROTOCOLINFO": hashed})
    asyncio.run(silent.talk(tmp_path / "key", lambda: len(silent.heard) == 1))
    assert silent.heard == ["PROTOCOLINFO 1"]  # no password: nothing is tried


def test_safecookie_is_shown_to_nobody_who_does_not_know_it(tmp_path: Path) -> None:
    cookie, nonce = bytes(range(32)), b"\x07" * 32
    cookie_file = tmp_path / "control_auth_cookie"
    cookie_file.write_bytes(cookie)
    info = f'250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE="{cookie_file}"\r\n250 OK\r\n'
    known = {"cookie": cookie}

    def challenge(line: str) -> str:
        client = bytes.fromhex(line.split(" ")[2])
        shown = tor_reply.server_hash(known["cookie"], client, nonce)
        return f"250 AUTHCHALLENGE SERVERHASH={shown.hex()} SERVERNONCE={nonce.hex()}\r\n"

    tor = Tor({**PLAIN, "PROTOCOLINFO": info, "AUTHCHALLENGE": challenge})
    asyncio.run(tor.talk(tmp_path / "key", lambda: bool(tor.services)))
    client = bytes.fromhex(tor.heard[1].split(" ")[2])
    assert tor.heard[1].startswith("AUTHCHALLENGE SAFECOOKIE ")
    assert tor.heard[2] == f"AUTHENTICATE {tor_reply.client_hash(cookie, client, nonce).hex()}"

    known["cookie"] = bytes(32)
    liar = Tor({**PLAIN, "PROTOCOLINFO": info, "AUTHCHALLENGE": challenge})
    asyncio.run(liar.talk(tmp_path / "key", lambda: len(liar.heard) == 2))
    assert not any(line.startswith("AUTHENTICATE") for line in liar.heard)
    assert cookie.hex() not in "".join(liar.heard)

    cookie_file.write_bytes(cookie + b"x")  # of another size: this is no cookie, its bytes stay here
    other = Tor({**PLAIN, "PROTOCOLINFO": info, "AUTHCHALLENGE": challenge})
    asyncio.run(other.talk(tmp_path / "key", lambda: len(other.heard) == 1))
    assert other.heard == ["PROTOCOLINFO 1"]


def test_a_lost_connection_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tor_control, "RECONNECT_FIRST", 0.01)
    tor = Tor({})  # hangs up at the first command
    asyncio.run(tor.talk(tmp_path / "key", lambda: tor.conversations >= 4))
    assert tor.heard == ["PROTOCOLINFO 1"] * tor.conversations


def test_a_tor_that_does_not_answer_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tor_control, "RECONNECT_FIRST", 0.01)
    monkeypatch.setattr(tor_control, "REPLY_TIMEOUT", 0.05)
    tor = Tor({**PLAIN, "PROTOCOLINFO": "250-PROTOCOLINFO 1\r\n"})  # and no end
    asyncio.run(tor.talk(tmp_path / "key", lambda: tor.conversations >= 3))
    assert set(tor.heard) == {"PROTOCOLINFO 1"}


def test_a_tor_that_never_stops_talking_leaves_the_loop_to_others(tmp_path: Path) -> None:
    noise = "\n" * (1 << 20)
    tor = Tor({**PLAIN, "ADD_ONION": ADDED + noise})
    turns: list[int] = []

    async def talk() -> None:
        async def others() -> None:
            while True:
                turns.append(0)
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await tor.talk(tmp_path / "key", lambda: bool(tor.services) and len(turns) > 1000)
        beside.cancel()

    asyncio.run(talk())
    assert tor.services[0] == ("up", ONION)
