//! The attestor's end of the pipe: takes a request with its descriptors, sends an answer.
//!
//! Descriptors that nobody announced, or announced ones that did not come, end the process: the
//! other side is then not what it says. Every descriptor is taken close-on-exec, though no program
//! is ever started here.

use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use crate::client::{self, ClientError, Reader};
use crate::pipe::{
    Answer, DESCRIPTORS_MAX, HEADER_BYTES, Header, PipeError, REQUEST_BYTES_MAX, Request,
};

/// One request as it came: the JSON may still be refused, then that is the answer.
pub(super) struct Received {
    pub(super) request: Result<Request, PipeError>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// The socket.
pub(super) struct Channel<'a> {
    socket: BorrowedFd<'a>,
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
    Send(#[source] ClientError),
}

impl<'a> Channel<'a> {
    pub(super) fn new(socket: BorrowedFd<'a>) -> Channel<'a> {
        Channel { socket }
    }

    /// Waits for the next request; none once the other side has closed.
    pub(super) fn receive(&mut self) -> Result<Option<Received>, ChannelError> {
        let mut descriptors = Vec::new();
        let mut header = [0_u8; HEADER_BYTES];
        let got = self.receive_some(&mut header, &mut descriptors)?;
        if got == 0 {
            return Ok(None);
        }
        let mut reader = Reader { socket: self.socket };
        reader.read_exact(&mut header[got..]).map_err(ChannelError::Body)?;
        let header = Header::read(header, REQUEST_BYTES_MAX).map_err(ChannelError::Header)?;
        if header.descriptors != descriptors.len() {
            return Err(ChannelError::Descriptors {
                announced: header.descriptors,
                came: descriptors.len(),
            });
        }
        let json = client::read_body(&mut reader, header.length).map_err(ChannelError::Body)?;
        Ok(Some(Received { request: Request::decode(&json), descriptors }))
    }

    pub(super) fn reply(&mut self, answer: &Answer) -> Result<(), ChannelError> {
        let (header, json) = answer.encode().map_err(ChannelError::Answer)?;
        client::send_all(self.socket, &header).map_err(ChannelError::Send)?;
        client::send_all(self.socket, &json).map_err(ChannelError::Send)
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
