//! Frames of the control channels: a 12-byte header and a postcard payload.
//!
//! Both ends read with a [`Decoder`] that is fed whatever bytes arrive; a length above [`MAX_FRAME`] or a payload that
//! does not decode is an error that ends the channel.

use alloc::vec::Vec;
use serde::{Serialize, de::DeserializeOwned};

/// Most payload bytes of one frame.
pub const MAX_FRAME: usize = 1 << 20;
/// Bytes of the header.
pub const HEADER: usize = 12;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Asks for something; answered by one reply with the same id.
    Request = 1,
    /// Answers the request with the same id.
    Reply = 2,
    /// Tells something that happened; the id is 0.
    Event = 3,
}

/// Why a frame could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The payload is longer than [`MAX_FRAME`].
    TooLong,
    /// The kind is none of [`Kind`].
    BadKind(u32),
    /// The payload is not what the channel carries.
    BadPayload,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLong => write!(f, "frame longer than {MAX_FRAME} bytes"),
            Self::BadKind(kind) => write!(f, "unknown frame kind {kind}"),
            Self::BadPayload => write!(f, "frame payload does not decode"),
        }
    }
}

impl core::error::Error for FrameError {}

/// One frame as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Pairs request and reply.
    pub id: u32,
    /// Encoded message.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Decodes the payload.
    ///
    /// # Errors
    /// [`FrameError::BadPayload`] when it is not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        postcard::from_bytes(&self.payload).map_err(|_| FrameError::BadPayload)
    }
}

/// Encodes `message` with its header.
///
/// # Errors
/// [`FrameError::TooLong`] when it does not fit a frame.
pub fn encode<T: Serialize>(kind: Kind, id: u32, message: &T) -> Result<Vec<u8>, FrameError> {
    let payload = postcard::to_allocvec(message).map_err(|_| FrameError::BadPayload)?;
    let len = u32::try_from(payload.len()).map_err(|_| FrameError::TooLong)?;
    if payload.len() > MAX_FRAME {
        return Err(FrameError::TooLong);
    }
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&(kind as u32).to_le_bytes());
    out.extend_from_slice(&payload);
    Ok(out)
}

/// Collects bytes of a stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// Adds received bytes. At most one frame and one read's worth of bytes are ever held if the caller drains
    /// [`Decoder::next_frame`] after each call.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Takes the next whole frame, `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] and [`FrameError::BadKind`] for a header that cannot be; the channel is lost then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.pending.first_chunk::<HEADER>() else { return Ok(None) };
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (len, id, kind) = (word(0) as usize, word(4), word(8));
        if len > MAX_FRAME {
            return Err(FrameError::TooLong);
        }
        let kind = match kind {
            1 => Kind::Request,
            2 => Kind::Reply,
            3 => Kind::Event,
            other => return Err(FrameError::BadKind(other)),
        };
        let Some(payload) = self.pending.get(HEADER..HEADER + len) else { return Ok(None) };
        let frame = Frame { kind, id, payload: payload.to_vec() };
        self.pending.drain(..HEADER + len);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_split() {
        let bytes: Vec<u8> =
            (0..3u32).flat_map(|n| encode(Kind::Request, n, &(n, "text")).unwrap()).collect();
        for step in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = 0;
            for part in bytes.chunks(step) {
                decoder.feed(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    assert_eq!(
                        frame.decode::<(u32, alloc::string::String)>().unwrap(),
                        (seen, "text".into())
                    );
                    assert_eq!(frame.id, seen);
                    seen += 1;
                }
            }
            assert_eq!(seen, 3);
        }
    }

    #[test]
    fn hostile_headers_are_refused() {
        let mut decoder = Decoder::default();
        decoder.feed(&[0xff; HEADER]);
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLong));
        let mut decoder = Decoder::default();
        decoder.feed(&[0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(decoder.next_frame(), Err(FrameError::BadKind(9)));
    }
}
