//! The resolver stub: hears which names a step asks for, and answers REFUSED at once.
//!
//! Without it a look-up would wait for its time-out, and the report of a blocked network could name
//! no host. It holds port 53 of the step's own loopback, reads one bounded question, forwards
//! nothing, and never parses an answer. What it hears is untrusted and is escaped before it is told.
//!
//! Only UDP: a client that insists on TCP gets a refused connection, which is as prompt.
//! See RFC 1035, sections 4.1.1 and 4.1.2.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, bind,
    recvfrom, sendmsg_addr, socket_with,
};

use super::error::{Doing, Failure, Naming};
use super::seccomp::OWN_ANSWER;

/// Port of the domain name service.
const PORT: u16 = 53;
/// Longest question read: more than a question can be (RFC 1035, 4.2.1).
const QUESTION_BYTES_MAX: usize = 512;
/// Longest name told, in bytes of the escaped text (a name itself has at most 255).
const NAME_BYTES_MAX: usize = 1024;

/// The stub's socket.
pub struct Resolver {
    socket: OwnedFd,
}

impl Resolver {
    /// Takes port 53 of the loopback of the current network namespace.
    pub fn bind() -> Result<Resolver, Failure> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None);
        let socket = socket.or_fail(Doing::Resolver, "")?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT))
            .or_fail(Doing::Resolver, "127.0.0.1:53")?;
        Ok(Resolver { socket })
    }

    /// Returns the socket to wait on.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Takes one waiting question.
    pub fn hear(&self) -> Option<Question> {
        let mut question = [0; QUESTION_BYTES_MAX];
        let (length, _, from) =
            recvfrom(&self.socket, &mut question[..], RecvFlags::DONTWAIT).ok()?;
        let (reply, name) = refuse(question.get(..length)?)?;
        Some(Question { name, from: SocketAddrV4::try_from(from?).ok()?, reply })
    }

    /// Refuses a question. A client that has gone away is no concern of ours.
    pub fn refuse(&self, question: &Question) {
        // Marked: any other call with an address waits for a word of this very process, see `attempts`.
        let none = &mut SendAncillaryBuffer::default();
        let reply = [IoSlice::new(&question.reply)];
        let marked = SendFlags::DONTWAIT | SendFlags::from_bits_retain(OWN_ANSWER);
        let _ = sendmsg_addr(&self.socket, &question.from, &reply, none, marked);
    }
}

/// One question that waits for its answer.
pub struct Question {
    /// The name asked for, escaped.
    pub name: String,
    /// Where it came from.
    pub from: SocketAddrV4,
    reply: Vec<u8>,
}

/// Returns the reply to a question and the name asked for, escaped; none if it is no question.
fn refuse(question: &[u8]) -> Option<(Vec<u8>, String)> {
    const HEAD: usize = 12;
    let head = question.first_chunk::<HEAD>()?;
    let is_question = head[2] & 0xf8 == 0 && head[4..6] == [0, 1];
    if !is_question {
        return None;
    }
    let (name, length) = read_name(&question[HEAD..])?;
    let end = HEAD + length + 4;
    let mut reply = question.get(..end)?.to_vec();
    // An answer, keeping "recursion desired"; recursion available, REFUSED; no records follow.
    reply[2] = 0x80 | (head[2] & 0x01);
    reply[3] = 0x85;
    reply[6..HEAD].fill(0);
    Some((reply, name))
}

/// Reads a name without compression and returns it with its length on the wire.
fn read_name(bytes: &[u8]) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        match length {
            0 => break,
            1..=63 => {
                let label = bytes.get(at..at + length)?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&model::text::escape(label));
                at += length;
            }
            _ => return None,
        }
        if at > 255 || name.len() > NAME_BYTES_MAX {
            return None;
        }
    }
    Some((name, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1];
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&[0, 1, 0, 1]);
        bytes.extend_from_slice(b"an OPT record that is not echoed");
        bytes
    }

    #[test]
    fn a_question_is_refused_and_its_name_is_told() {
        let (reply, name) = refuse(&question(b"\x07example\x03org\0")).expect("a question");
        assert_eq!(name, "example.org");
        assert_eq!(reply[..4], [0xab, 0xcd, 0x81, 0x85]);
        assert_eq!(reply[4..12], [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(reply.len(), 12 + 13 + 4);
    }

    #[test]
    fn odd_questions_are_dropped_without_harm() {
        let endless = vec![63; 600];
        for bytes in [&b""[..], b"short", &question(b"\xc0\x0c"), &question(b"\x40"), &endless] {
            assert!(refuse(bytes).is_none(), "{bytes:?}");
        }
        for length in 0..question(b"\x01a\0").len() {
            let _ = refuse(&question(b"\x01a\0")[..length]);
        }
        let mut answer = question(b"\x01a\0");
        answer[2] = 0x81;
        assert!(refuse(&answer).is_none());
    }

    #[test]
    fn names_are_escaped() {
        let (_, name) = refuse(&question(b"\x05\x1b[31m\0")).expect("a question");
        assert_eq!(name, "\\x1b[31m");
    }
}
