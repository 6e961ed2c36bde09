//! The build process' end of the pipe: hands over a request and descriptors, takes an answer.
//!
//! Who starts the attestor and how the socket came to be is the caller's business: the runner
//! re-executes the binary with `attestor serve …`, an empty environment and the socket as standard
//! input. No key is on this side, and no public function here could ask for one.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown};

use crate::pipe::{
    ANSWER_BYTES_MAX, Answer, HEADER_BYTES, Header, PipeError, RefusedKind, Request,
};

/// How long it is tried again with an attestor that has heard too much of this user.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first pause; each later one is twice as long.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// How long an attestor that listens is waited for when nothing more is asked.
const LEAVE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request can not be written, or the answer not be read.
    #[error("speak with the attestor")]
    Format(#[from] PipeError),
    /// The socket took no more: the attestor ended.
    #[error("send the request to the attestor")]
    Send(#[source] Errno),
    /// The socket gave no more: the attestor ended without an answer.
    #[error("read the attestor's answer")]
    Receive(#[source] std::io::Error),
    /// An answer never brings descriptors.
    #[error("the attestor announced descriptors with its answer")]
    Descriptors,
}

/// What is left of the time in which an attestor may be busy: other builds of this user end as well.
#[derive(Debug)]
pub struct Patience {
    left: Duration,
    pause: Duration,
}

impl Patience {
    /// Returns all of it.
    #[expect(
        clippy::new_without_default,
        reason = "patience begins, it is not the default of anything"
    )]
    pub fn new() -> Patience {
        Patience { left: PATIENCE, pause: PAUSE }
    }

    /// Says whether to ask again, by another connection; waits a while before it says so.
    pub fn again(&mut self, answer: &Answer) -> bool {
        let busy = matches!(answer, Answer::Refused(refused) if refused.kind == RefusedKind::Busy);
        if !busy || self.left.is_zero() {
            return false;
        }
        let pause = self.pause.min(self.left);
        std::thread::sleep(pause);
        self.left -= pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

/// Ends a connection to an attestor that listens, and waits until that one no longer counts it: what this user asks
/// next would be one too many otherwise.
pub fn leave(socket: BorrowedFd<'_>) {
    // An attestor that is gone counts nothing, and one that hangs is not waited for.
    let ended = rustix::net::shutdown(socket, Shutdown::Write)
        .and_then(|()| sockopt::set_socket_timeout(socket, Timeout::Recv, Some(LEAVE)));
    if ended.is_ok() {
        let _ = rustix::io::read(socket, &mut [0_u8; 1]);
    }
}

/// Sends one request with its descriptors and waits for the answer.
///
/// `socket` is a connected stream socket whose other end is the attestor's standard input.
///
/// # Errors
/// See [`ClientError`]; a refusal by the attestor is an [`Answer`], not an error.
pub fn ask(
    socket: BorrowedFd<'_>,
    request: &Request,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Answer, ClientError> {
    let (header, json) = request.encode(descriptors.len())?;
    let sent = send_header(socket, &header, descriptors).and_then(|()| send_all(socket, &json));
    match sent {
        Ok(()) => receive(socket),
        // Who is not heard is told so before a byte is read, and finds the other end closed.
        Err(ClientError::Send(Errno::PIPE | Errno::CONNRESET)) => {
            receive(socket).map_err(|_| ClientError::Send(Errno::PIPE))
        }
        Err(error) => Err(error),
    }
}

/// Reads the answer.
fn receive(socket: BorrowedFd<'_>) -> Result<Answer, ClientError> {
    let mut reader = Reader { socket };
    let mut header = [0; HEADER_BYTES];
    reader.read_exact(&mut header).map_err(ClientError::Receive)?;
    let header = Header::read(header, ANSWER_BYTES_MAX)?;
    if header.descriptors != 0 {
        return Err(ClientError::Descriptors);
    }
    let json = read_body(&mut reader, header.length).map_err(ClientError::Receive)?;
    Ok(Answer::decode(&json)?)
}

/// Reads `length` bytes, growing as they come: a header alone reserves no memory.
pub(crate) fn read_body(reader: &mut impl Read, length: usize) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.take(length as u64).read_to_end(&mut body)?;
    if body.len() == length {
        Ok(body)
    } else {
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
    }
}

/// Sends the header; the descriptors travel with it.
fn send_header(
    socket: BorrowedFd<'_>,
    header: &[u8; HEADER_BYTES],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), ClientError> {
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        // The buffer was made for exactly this message.
        control.push(rights);
    }
    let sent = loop {
        let parts = [IoSlice::new(header)];
        match rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => break result.map_err(ClientError::Send)?,
        }
    };
    send_all(socket, &header[sent..])
}

/// Sends everything; a closed socket is an error and no signal.
pub(crate) fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), ClientError> {
    while !bytes.is_empty() {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(0) => return Err(ClientError::Send(Errno::PIPE)),
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(ClientError::Send(error)),
        }
    }
    Ok(())
}

/// A borrowed socket as a reader.
pub(crate) struct Reader<'a> {
    pub(crate) socket: BorrowedFd<'a>,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(rustix::io::read(self.socket.as_fd(), buffer)?)
    }
}
