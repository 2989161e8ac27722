//! Taking FUSE requests apart and putting answers together.

use super::name::Name;
use crate::virtio::chain::Cursor;
use chitin_proto::fuse::InHeader;
use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Most bytes of text arguments: two names, or a name and a symbolic link's target.
const MAX_TEXT: usize = 4096 + 256;

/// A request: its header and what follows.
#[derive(Debug)]
pub struct Request<'a, 'r> {
    /// The header.
    pub header: InHeader,
    /// What follows the header.
    pub body: &'a mut Cursor<'r>,
}

impl<'a, 'r> Request<'a, 'r> {
    /// Reads the header.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &'a mut Cursor<'r>) -> Result<Self, String> {
        let bytes = body.left();
        let header: InHeader = body.read_value().ok_or_else(|| format!("FUSE request of {bytes} bytes"))?;
        if header.len as usize != bytes {
            return Err(format!("FUSE request of {bytes} bytes whose header says {}", header.len));
        }
        Ok(Self { header, body })
    }

    /// Reads the next argument structure.
    ///
    /// # Errors
    /// `EINVAL` when the request is too short.
    pub fn argument<T: FromBytes + IntoBytes>(&mut self) -> Result<T, Errno> {
        self.body.read_value().ok_or(Errno::INVAL)
    }

    /// Reads all that is left, which must be `N` texts that each end with a NUL.
    fn texts<const N: usize>(&mut self) -> Result<[Vec<u8>; N], Errno> {
        if self.body.left() > MAX_TEXT {
            return Err(Errno::NAMETOOLONG);
        }
        let mut bytes = vec![0; self.body.left()];
        self.body.read(&mut bytes);
        let mut rest = bytes.as_slice();
        let mut texts = [const { Vec::new() }; N];
        for text in &mut texts {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(Errno::INVAL)?;
            let (this, after) = rest.split_at(end);
            *text = this.to_vec();
            rest = after.get(1..).unwrap_or_default();
        }
        Ok(texts)
    }

    /// Reads a name, the last argument.
    ///
    /// # Errors
    /// `EINVAL` for what cannot be an entry, `ENAMETOOLONG`.
    pub fn name(&mut self) -> Result<Name, Errno> {
        let [text] = self.texts()?;
        checked(&text)
    }

    /// Reads two names, the last arguments.
    ///
    /// # Errors
    /// As [`Request::name`].
    pub fn two_names(&mut self) -> Result<(Name, Name), Errno> {
        let [one, two] = self.texts()?;
        Ok((checked(&one)?, checked(&two)?))
    }

    /// Reads a name and a free text, the last arguments.
    ///
    /// # Errors
    /// As [`Request::name`].
    pub fn name_and_text(&mut self) -> Result<(Name, Vec<u8>), Errno> {
        let [name, text] = self.texts()?;
        Ok((checked(&name)?, text))
    }

    /// Reads a text that ends with a NUL, leaving what follows it.
    ///
    /// # Errors
    /// `EINVAL` without a NUL within the first 256 bytes.
    pub fn leading_text(&mut self) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        while text.len() < 256 {
            match self.argument::<u8>()? {
                0 => return Ok(text),
                byte => text.push(byte),
            }
        }
        Err(Errno::RANGE)
    }
}

fn checked(text: &[u8]) -> Result<Name, Errno> {
    Name::new(text).ok_or(if text.len() > 255 { Errno::NAMETOOLONG } else { Errno::INVAL })
}

/// The answer's payload, after its header.
#[derive(Debug)]
pub struct Reply<'a, 'r> {
    /// Room in guest memory.
    pub room: &'a mut Cursor<'r>,
    start: usize,
    data: Option<usize>,
}

impl<'a, 'r> Reply<'a, 'r> {
    /// An empty answer.
    #[must_use]
    pub const fn new(room: &'a mut Cursor<'r>) -> Self {
        let start = room.done();
        Self { room, start, data: None }
    }

    /// Bytes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.data {
            Some(len) => len,
            None => self.room.done() - self.start,
        }
    }

    /// Says that the payload is `len` bytes that were put into the room by other means.
    pub const fn set_len(&mut self, len: usize) {
        self.data = Some(len);
    }

    /// Whether nothing has been put.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a structure.
    ///
    /// # Errors
    /// `EINVAL` when the guest left no room for it.
    pub fn put<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), Errno> {
        if self.room.write_value(value) { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `ERANGE` when the guest left no room for them.
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if self.room.left() < bytes.len() {
            return Err(Errno::RANGE);
        }
        self.room.write(bytes);
        Ok(())
    }
}
