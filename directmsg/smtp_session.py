"""One connection of the SMTP and LMTP door, from greeting to farewell (RFC 5321, RFC 2033)."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from aiosmtpd.smtp import SMTP, TLSSetupException

from .datastream import CRLF, DataScanner, Fault, SpooledData
from .smtp_words import (
    BROKEN,
    BYE,
    GLUED,
    NO_SPACE,
    NOT_ASCII,
    NOT_HERE,
    OK,
    STOPPING,
    TOO_EARLY,
    TOO_MANY_ERRORS,
    TOO_SLOW,
    TRY_LATER,
    BadCommand,
    Envelope,
    HangUp,
    Reply,
    one_reply,
    parse_path,
)

if TYPE_CHECKING:
    from .listener import Listener

log = logging.getLogger(__name__)
# aiosmtpd logs commands at info and every line of DATA at debug; neither may reach a log file.
logging.getLogger("mail.log").setLevel(logging.WARNING)

T = TypeVar("T")
U = TypeVar("U")
_CHUNK = 1 << 16


class MailSession(SMTP):
    """One connection.

    aiosmtpd gives the stream, the timer and the change to TLS. Commands, DATA and replies are our own,
    because its DATA keeps lone CR, LF and NUL, answers once for all LMTP recipients when a message
    is too large, and lets commands run that came before they were asked for.
    """

    # aiosmtpd makes its StreamReader as large as this.
    line_length_limit = _CHUNK

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._limits = listener.limits
        self._peer = ""
        self._refusal: Reply | None = None
        self._mail_from: str | None = None
        self._rcpt_tos: list[str] = []
        self._failed = 0
        self._waiting = self._stopping = self._leaving = self._lost = False
        super().__init__(
            object(),
            data_size_limit=self._limits.size,
            hostname=listener.hostname,
            tls_context=listener.tls,
            timeout=self._limits.idle_s,
            loop=asyncio.get_running_loop(),
        )

    # --- connection ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was opened, or became a TLS one and starts anew (RFC 3207 section 4.2)."""
        opened = self.transport is None
        super().connection_made(transport)
        if opened:
            address = transport.get_extra_info("peername")
            self._peer = str(address[0]).removeprefix("::ffff:") if address else ""
            self._refusal = self._listener.admit(self, self._peer)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone; called twice when TLS fails at the wrong moment."""
        if not self._lost:
            self._lost = True
            self._listener.dismiss(self)
            super().connection_lost(error)

    def stop(self) -> None:
        """End the session as soon as no message is under way."""
        self._stopping = True
        if self._waiting:
            self._say_and_close(STOPPING)

    def abort(self) -> None:
        """End the session now."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def _timeout_cb(self) -> None:
        self._say_and_close(TOO_SLOW)

    def _say_and_close(self, reply: Reply) -> None:
        if not self._leaving:
            self._writer.write(str(reply).encode("ascii") + CRLF)
        self._writer.close()
        # A peer that reads nothing would keep the reply, and with it the connection, for ever.
        self.loop.call_later(self._limits.linger_s, self.abort)

    def _set_post_data_state(self) -> None:
        super()._set_post_data_state()
        self._mail_from, self._rcpt_tos = None, []

    # --- conversation ----------------------------------------------------------------------------------

    async def _handle_client(self) -> None:
        try:
            if self._refusal:
                await self._say(self._refusal)
            else:
                await self._converse()
        except (OSError, EOFError):
            log.info("peer went away", extra={"peer": self._peer})
        finally:
            self._writer.close()

    async def _converse(self) -> None:
        try:
            await self.push(f"220 {self.hostname} {'LMTP' if self._lmtp else 'ESMTP'} HealthVault Direct")
            while await self._obey_next():
                pass
        except HangUp as end:
            await self._hang_up(*end.replies)
        except (OSError, EOFError):
            raise
        except Exception:
            log.exception("session failed", extra={"peer": self._peer})
            await self._hang_up(BROKEN)

    async def _obey_next(self) -> bool:
        """Read and obey one command; returns whether another may follow."""
        line = await self._read_line()
        # Commands that came unasked may be those of somebody else, hidden in a message that a
        # server before us passed on as one.
        self._forbid_waiting_input(TOO_EARLY)
        try:
            reply = await self._obey(line)
        except BadCommand as bad:
            reply = bad.reply
        if reply is not None:
            self._forbid_waiting_input(TOO_EARLY)
            await self._say(reply)
        if self._failed >= self._limits.failed_commands:
            raise HangUp(TOO_MANY_ERRORS)
        if self._stopping and reply is not BYE:
            raise HangUp(STOPPING)
        return reply is not BYE

    async def _read_line(self) -> bytes:
        if self._stopping:
            raise HangUp(STOPPING)
        self._waiting = True
        try:
            line: bytes = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise HangUp(Reply(500, "5.5.2 Line too long")) from None
        finally:
            self._waiting = False
        self._reset_timeout()
        return line

    async def _obey(self, line: bytes) -> Reply | None:
        """Returns the reply to give, or None when it has been given."""
        if len(line) > self._limits.command:
            raise BadCommand(500, "5.5.2 Line too long")
        text = line.removesuffix(CRLF)
        if text == line or any(octet < 32 and octet != 9 for octet in text):
            raise BadCommand(500, "5.5.2 A command is one line that ends with CR LF")
        verb, _, argument = text.partition(b" ")
        verb = verb.upper()
        method = self._commands().get(verb)
        if method is None:
            if verb in (b"VRFY", b"EXPN", b"AUTH", b"HELP", b"BDAT", b"TURN", b"ETRN", b"STARTTLS"):
                return NOT_HERE
            raise BadCommand(500, "5.5.1 Unknown command")
        if not argument.isascii():
            return NOT_ASCII if verb in (b"MAIL", b"RCPT") else Reply(501, "5.5.4 Not ASCII")
        return await method(argument.decode("ascii"))

    def _commands(self) -> dict[bytes, Callable[[str], Awaitable[Reply | None]]]:
        return {
            **({b"LHLO": self._ehlo} if self._lmtp else {b"HELO": self._helo, b"EHLO": self._ehlo}),
            **({b"STARTTLS": self._starttls} if self.tls_context else {}),
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"RSET": self._rset,
            b"NOOP": self._noop,
            b"QUIT": self._quit,
        }

    async def _say(self, *replies: Reply) -> None:
        self._failed += sum(reply.code >= 500 for reply in replies[:1])
        self._writer.write(b"".join(str(reply).encode("ascii") + CRLF for reply in replies))
        await self._writer.drain()

    async def _hang_up(self, *replies: Reply) -> None:
        """Say the last words, then read on for a while: closing on unread input would destroy them."""
        self._leaving = True
        await self._say(*replies)
        log.info("session ended by us", extra={"peer": self._peer, "code": replies[0].code})
        if self._writer.can_write_eof():
            self._writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger_s):
                while await self._reader.read(_CHUNK):
                    pass

    def _forbid_waiting_input(self, *replies: Reply) -> None:
        if self._input_waits():
            raise HangUp(*replies)

    def _input_waits(self) -> bool:
        return bool(self._reader._buffer)  # type: ignore[attr-defined]

    @property
    def _lmtp(self) -> bool:
        return self._listener.protocol == "lmtp"

    # --- asking in a thread ----------------------------------------------------------------------------

    async def _in_thread(self, future: "Future[T]", seconds: float) -> T:
        """Wait for work of ours; the peer is not the one who is idle meanwhile."""
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        finally:
            if not self._lost:
                self._reset_timeout()

    async def _ask(self, question: Callable[[], T], *, otherwise: U) -> T | U:
        """The answer to a question that may need the database, or `otherwise` when that fails."""
        try:
            return await self._in_thread(self._listener.checks.submit(question), self._limits.check_s)
        except Exception:
            log.exception("check failed", extra={"peer": self._peer})
            return otherwise

    # --- commands --------------------------------------------------------------------------------------

    async def _helo(self, name: str) -> Reply:
        self._greet(name, extended=False)
        return Reply(250, self.hostname)

    async def _ehlo(self, name: str) -> None:
        self._greet(name, extended=True)
        words = [self.hostname, f"SIZE {self._limits.size}", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self.tls_context and not self._tls_protocol:
            words.append("STARTTLS")
        await self.push("\r\n".join([*(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}"]))

    def _greet(self, name: str, *, extended: bool) -> None:
        if not name.strip() or len(name) > 255:
            raise BadCommand(501, "5.5.4 Say your own name")
        assert self.session is not None
        self._set_post_data_state()
        self.session.host_name = name
        self.session.extended_smtp = extended

    async def _starttls(self, argument: str) -> None:
        if argument:
            raise BadCommand(501, "5.5.4 STARTTLS has no argument")
        if self._tls_protocol:
            raise BadCommand(503, "5.5.1 TLS is on already")
        try:
            await self.smtp_STARTTLS("")
        except TLSSetupException:
            log.info("TLS failed", extra={"peer": self._peer})
            if isinstance(self._original_transport, asyncio.WriteTransport):
                self._original_transport.abort()
            # The half-made TLS layer does not tell us that the connection is gone.
            self.connection_lost(None)
            raise EOFError from None

    async def _mail(self, argument: str) -> Reply:
        self._need(self._greeted, "Greet first")
        self._need(self._mail_from is None, "A message is under way already")
        address, parameters = parse_path("FROM:", argument)
        self._check_mail_parameters(parameters)
        refusal = await self._ask(lambda: self._listener.refuse_sender(address), otherwise=TRY_LATER)
        if refusal is not None:
            return refusal
        self._mail_from = address
        return Reply(250, "2.1.0 OK")

    def _check_mail_parameters(self, parameters: dict[str, str]) -> None:
        assert self.session is not None
        if "SMTPUTF8" in parameters:
            raise BadCommand(NOT_ASCII.code, NOT_ASCII.text)
        if parameters and not self.session.extended_smtp:
            raise BadCommand(555, "5.5.4 Parameters need EHLO")
        size, body = parameters.pop("SIZE", "0"), parameters.pop("BODY", "7BIT")
        if parameters or body.upper() not in ("7BIT", "8BITMIME"):
            raise BadCommand(555, "5.5.4 Unknown parameter")
        if not size.isdigit() or len(size) > 20:  # RFC 1870 section 4
            raise BadCommand(501, "5.5.4 SIZE is a number of octets")
        if int(size) > self._limits.size:
            raise BadCommand(*self._too_large())

    async def _rcpt(self, argument: str) -> Reply:
        self._need(self._mail_from is not None, "MAIL comes first")
        if len(self._rcpt_tos) >= self._limits.recipients:
            return Reply(452, "4.5.3 Too many recipients")
        address, parameters = parse_path("TO:", argument)
        if not address:
            raise BadCommand(553, "5.1.3 A recipient is needed")
        if parameters:
            raise BadCommand(555, "5.5.4 Unknown parameter")
        refusal = await self._ask(lambda: self._listener.check_recipient(address), otherwise=TRY_LATER)
        if refusal is not None:
            return refusal
        self._rcpt_tos.append(address)
        return Reply(250, "2.1.5 OK")

    async def _rset(self, argument: str) -> Reply:
        if argument:
            raise BadCommand(501, "5.5.4 RSET has no argument")
        self._set_post_data_state()
        return OK

    async def _noop(self, argument: str) -> Reply:
        return OK

    async def _quit(self, argument: str) -> Reply:
        if argument:
            raise BadCommand(501, "5.5.4 QUIT has no argument")
        return BYE

    @property
    def _greeted(self) -> bool:
        return self.session is not None and self.session.host_name is not None

    @staticmethod
    def _need(state: bool, otherwise: str) -> None:
        if not state:
            raise BadCommand(503, f"5.5.1 {otherwise}")

    # --- DATA ------------------------------------------------------------------------------------------

    async def _data(self, argument: str) -> None:
        self._need(bool(self._rcpt_tos), "RCPT comes first")
        if argument:
            raise BadCommand(501, "5.5.4 DATA has no argument")
        started = time.monotonic()
        scanner = await self._receive()
        if scanner.fault is None:
            replies = await self._accept(scanner.data)
        else:
            replies = [self._fault_reply(scanner.fault)] * len(self._rcpt_tos)
        waits = self._input_waits()
        await self._answer(replies)
        self._set_post_data_state()
        log.info(
            "message answered",
            extra={
                "peer": self._peer,
                "code": one_reply(replies).code,
                "size": scanner.data.size,
                "seconds": round(time.monotonic() - started, 3),
            },
        )
        if waits:
            raise HangUp(TOO_EARLY)

    async def _receive(self) -> DataScanner:
        """Take the octets of one message; nothing may stand behind them."""
        scanner = await self._new_scanner()
        try:
            self._forbid_waiting_input(TOO_EARLY)
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            async with asyncio.timeout(self._limits.data_s):
                behind = await self._read_data(scanner)
            if behind or self._input_waits():
                raise HangUp(*[GLUED] * (len(self._rcpt_tos) if self._lmtp else 1))
        except BaseException as error:
            scanner.data.close()
            if isinstance(error, TimeoutError):
                raise HangUp(TOO_SLOW) from None
            raise
        return scanner

    async def _new_scanner(self) -> DataScanner:
        limits, listener = self._limits, self._listener
        peer, mail_from, rcpt_tos = self._peer, self._mail_from or "", tuple(self._rcpt_tos)
        repair, normalise = listener.normalise_bare_newlines, False
        if repair is not None:
            normalise = await self._ask(lambda: repair(peer, mail_from, rcpt_tos), otherwise=False)
        return DataScanner(
            SpooledData(memory=limits.memory, directory=listener.spool_dir),
            max_size=limits.size,
            max_line=limits.line,
            max_header=limits.header,
            normalise=normalise,
        )

    async def _read_data(self, scanner: DataScanner) -> bytes:
        first = True
        while True:
            chunk: bytes = await self._reader.read(_CHUNK)
            if not chunk:
                raise EOFError
            if first:
                self._listener.fault("smtp.data")
                first = False
            self._reset_timeout()
            behind = scanner.feed(chunk)
            if behind is not None:
                return behind

    async def _accept(self, data: SpooledData) -> list[Reply]:
        """Ask the store. When it fails or takes too long nobody is told 250; what it may have
        stored all the same is known again when the sender comes back."""
        envelope = Envelope(
            self._mail_from or "",
            tuple(self._rcpt_tos),
            data,
            self._peer,
            self._listener.protocol,
            self._tls_protocol is not None,
        )
        try:
            replies = await self._in_thread(self._listener.store(envelope), self._limits.accept_s)
            if len(replies) != len(envelope.rcpt_tos):
                raise ValueError("accept gives one reply per recipient")
            return list(replies)
        except Exception:
            log.exception("message not accepted", extra={"peer": self._peer, "size": data.size})
            return [TRY_LATER] * len(envelope.rcpt_tos)

    async def _answer(self, replies: Sequence[Reply]) -> None:
        """One reply per recipient over LMTP, whatever became of the message (RFC 2033 section 4.2)."""
        told = replies if self._lmtp else [one_reply(replies)]
        await self._say(*told)
        if any(reply.code == 250 for reply in told):
            self._failed = 0
            self._listener.fault("smtp.replied")

    def _fault_reply(self, fault: Fault) -> Reply:
        limits = self._limits
        return {
            Fault.BARE_NEWLINE: Reply(550, "5.6.0 Lines must end with CR LF; no CR, LF or NUL elsewhere"),
            Fault.LINE_TOO_LONG: Reply(550, f"5.6.0 A line is longer than {limits.line} octets"),
            Fault.TOO_LARGE: Reply(*self._too_large()),
            Fault.HEADER_TOO_LARGE: Reply(552, f"5.3.4 The header is larger than {limits.header} octets"),
            Fault.NO_SPACE: NO_SPACE,
        }[fault]

    def _too_large(self) -> tuple[int, str]:
        return 552, f"5.3.4 The message is larger than {self._limits.size} octets"
