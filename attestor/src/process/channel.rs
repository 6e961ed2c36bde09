//! The attestor's end of the pipe: takes a request with its descriptors, sends an answer.
//!
//! Descriptors that nobody announced, or announced ones that did not come, end the process: the
//! other side is then not what it says. Every descriptor is taken close-on-exec, though no program
//! is ever started here.
//!
//! A peer on a socket has a time in which its whole request must come and the whole answer must be
//! taken, however slowly it drips. The process that started this one may take its time.

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};

use crate::client;
use crate::pipe::{
    Answer, DESCRIPTORS_MAX, HEADER_BYTES, Header, PipeError, REQUEST_BYTES_MAX, Request,
};
use crate::strict_json::Caps;

/// One request as it came: the JSON may still be refused, then that is the answer.
pub(super) struct Received<'a> {
    pub(super) request: Result<Request, PipeError>,
    pub(super) files: Files<'a>,
}

/// What came with a request.
pub(super) struct Files<'a> {
    pub(super) descriptors: Vec<OwnedFd>,
    /// Who waits for the answer, where that is a user who shares this attestor with others.
    pub(super) peer: Option<BorrowedFd<'a>>,
}

/// The socket.
pub(super) struct Channel<'a> {
    socket: BorrowedFd<'a>,
    patience: Option<Patience>,
}

/// What a peer on a socket may take.
#[derive(Clone, Copy)]
struct Patience {
    /// Time for a whole message.
    time: Duration,
    /// Size of a request.
    caps: Caps,
}

/// Why the pipe is given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    #[error("receive a request")]
    Receive(#[source] Errno),
    #[error("receive the whole of a request")]
    Body(#[source] std::io::Error),
    #[error("a request's header")]
    Header(#[source] PipeError),
    #[error("{announced} descriptors were announced and {came} came")]
    Descriptors { announced: usize, came: usize },
    #[error("descriptors came that did not fit")]
    Cut,
    #[error("write the answer")]
    Answer(#[source] PipeError),
    #[error("send the answer")]
    Send(#[source] Errno),
}

impl<'a> Channel<'a> {
    /// Returns the channel of a process that may take its time.
    pub(super) fn new(socket: BorrowedFd<'a>) -> Channel<'a> {
        Channel { socket, patience: None }
    }

    /// Returns the channel of a peer that has `time` for each message, and requests within `caps`.
    pub(super) fn impatient(socket: BorrowedFd<'a>, time: Duration, caps: Caps) -> Channel<'a> {
        Channel { socket, patience: Some(Patience { time, caps }) }
    }

    /// Says whether a request, or the end of them, is there already.
    pub(super) fn is_asked(&self) -> bool {
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(rustix::event::poll(&mut sockets, Some(&at_once)), Ok(0))
    }

    /// Waits for the next request; none once the other side has closed.
    pub(super) fn receive(&mut self) -> Result<Option<Received<'a>>, ChannelError> {
        let deadline = self.deadline();
        let mut descriptors = Vec::new();
        let mut header = [0_u8; HEADER_BYTES];
        self.wait(PollFlags::IN, deadline).map_err(ChannelError::Receive)?;
        let got = self.receive_some(&mut header, &mut descriptors)?;
        if got == 0 {
            return Ok(None);
        }
        let mut reader = Waiting { channel: self, deadline };
        reader.read_exact(&mut header[got..]).map_err(ChannelError::Body)?;
        let most = self.patience.map_or(REQUEST_BYTES_MAX, |patience| patience.caps.bytes);
        let header = Header::read(header, most).map_err(ChannelError::Header)?;
        if header.descriptors != descriptors.len() {
            return Err(ChannelError::Descriptors {
                announced: header.descriptors,
                came: descriptors.len(),
            });
        }
        let json = client::read_body(&mut reader, header.length).map_err(ChannelError::Body)?;
        let request = match self.patience {
            Some(patience) => Request::decode_within(&json, &patience.caps),
            None => Request::decode(&json),
        };
        let peer = self.patience.map(|_| self.socket);
        Ok(Some(Received { request, files: Files { descriptors, peer } }))
    }

    pub(super) fn reply(&mut self, answer: &Answer) -> Result<(), ChannelError> {
        let (header, json) = answer.encode().map_err(ChannelError::Answer)?;
        let deadline = self.deadline();
        self.send(&header, deadline)
            .and_then(|()| self.send(&json, deadline))
            .map_err(ChannelError::Send)
    }

    fn deadline(&self) -> Option<Instant> {
        self.patience.map(|patience| Instant::now() + patience.time)
    }

    fn send(&self, mut bytes: &[u8], deadline: Option<Instant>) -> Result<(), Errno> {
        // Where nothing is waited for, the call itself waits.
        let no_wait = if deadline.is_some() { SendFlags::DONTWAIT } else { SendFlags::empty() };
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT, deadline)?;
            match rustix::net::send(self.socket, bytes, SendFlags::NOSIGNAL | no_wait) {
                Ok(0) => return Err(Errno::PIPE),
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready or the deadline is past.
    fn wait(&self, ready: PollFlags, deadline: Option<Instant>) -> Result<(), Errno> {
        let Some(deadline) = deadline else { return Ok(()) };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::TIMEDOUT);
            }
            let time = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut sockets = [PollFd::new(&self.socket, ready)];
            match rustix::event::poll(&mut sockets, Some(&time)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives the first bytes of a header and the descriptors that come with them.
    fn receive_some(
        &mut self,
        header: &mut [u8; HEADER_BYTES],
        descriptors: &mut Vec<OwnedFd>,
    ) -> Result<usize, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = loop {
            let mut parts = [IoSliceMut::new(header)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(self.socket, &mut parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                result => break result.map_err(ChannelError::Receive)?,
            }
        };
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Err(ChannelError::Cut);
        }
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                descriptors.extend(rights);
            }
        }
        Ok(message.bytes)
    }
}

/// The socket as a reader that gives up at the deadline.
struct Waiting<'a, 'b> {
    channel: &'a Channel<'b>,
    deadline: Option<Instant>,
}

impl Read for Waiting<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.channel.wait(PollFlags::IN, self.deadline)?;
        Ok(rustix::io::read(self.channel.socket, buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_that_sends_or_takes_too_slowly_is_given_up() {
        let patience = Duration::from_millis(20);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut channel = Channel::impatient(ours.as_fd(), patience, crate::pipe::BUILD_CAPS);
        // Nothing, half a header, and a body that never ends.
        assert!(matches!(channel.receive(), Err(ChannelError::Receive(Errno::TIMEDOUT))));
        for sent in [&b"\0\0\0\x01"[..], b"\0\0\0\0{"] {
            rustix::io::write(&theirs, sent).unwrap();
            assert!(matches!(channel.receive(), Err(ChannelError::Body(_))));
        }
        // An answer larger than what the socket holds, and nobody who reads.
        let text = "x".repeat(8 << 20);
        let key = crate::pipe::KeyInfo {
            fingerprint: text,
            algorithm: crate::public_key::Algorithm::Ed25519,
            pem: String::new(),
            builder_id: String::new(),
            path: String::new(),
            trusted: false,
        };
        let told = channel.reply(&Answer::Key(key));
        assert!(matches!(told, Err(ChannelError::Send(Errno::TIMEDOUT))), "{told:?}");
    }
}
