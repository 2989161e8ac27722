//! One request, from its chain (virtio 1.2, section 5.2.6): what is asked, checked against the device, and where the answer
//! goes.
//!
//! Nothing is read twice from guest memory: header and ranges are copied first and checked after that. Data stays where it
//! is and may change while it is written, which harms nobody but the guest.

use super::image::Geometry;
use crate::virtio::chain::{Chain, Cursor};
use chitin_proto::block::{
    Header, ID_BYTES, MAX_RANGE_SECTORS, MAX_RANGES, RANGE_UNMAP, Range, SECTOR, kind, status,
};

/// What is asked.
#[derive(Debug)]
pub enum Action<'r> {
    /// Fill the room from this byte on.
    Read(u64, Cursor<'r>),
    /// Write the bytes from this byte on.
    Write(u64, Cursor<'r>),
    /// Make durable what was written.
    Flush,
    /// Put the serial number there.
    Identify(Cursor<'r>),
    /// Give ranges back: first byte and bytes of each.
    Discard(Vec<Span>),
    /// Make ranges read as zeroes.
    WriteZeroes(Vec<Span>),
    /// Nothing: answer with this status.
    Refuse(u8),
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// Its space may be given back.
    pub unmap: bool,
}

/// A request.
#[derive(Debug)]
pub struct Request<'r> {
    /// Of its chain.
    pub head: u16,
    /// What is asked.
    pub action: Action<'r>,
    /// Where the status goes: one byte.
    pub status: Cursor<'r>,
}

impl<'r> Request<'r> {
    /// Reads a chain; `None` for `geometry` is an empty slot.
    ///
    /// # Errors
    /// The rule that the guest broke: a chain without a header or without room for a status.
    pub fn parse(chain: Chain<'r>, geometry: Option<Geometry>) -> Result<Self, String> {
        let Chain { head, mut readable, mut writable } = chain;
        let given = readable.left();
        let Some(header) = readable.read_value::<Header>() else {
            return Err(format!("request of {given} bytes with its header"));
        };
        let Some(room) = writable.left().checked_sub(1) else {
            return Err("request without room for its status".to_owned());
        };
        let data = writable.split_front(room);
        let action = match geometry {
            Some(geometry) => Self::action(header, readable, data, geometry).unwrap_or_else(Action::Refuse),
            None => Action::Refuse(status::IOERR),
        };
        Ok(Self { head, action, status: writable })
    }

    /// An error is the status to answer with.
    fn action(
        header: Header,
        mut given: Cursor<'r>,
        room: Cursor<'r>,
        geometry: Geometry,
    ) -> Result<Action<'r>, u8> {
        let only = |holds: bool| if holds { Ok(()) } else { Err(status::IOERR) };
        let writes = matches!(header.kind, kind::OUT | kind::DISCARD | kind::WRITE_ZEROES);
        only(!writes || geometry.is_writable)?;
        match header.kind {
            kind::IN => {
                only(given.is_empty())?;
                Ok(Action::Read(place(header.sector, room.left(), geometry)?, room))
            }
            kind::OUT => {
                only(room.is_empty())?;
                Ok(Action::Write(place(header.sector, given.left(), geometry)?, given))
            }
            kind::FLUSH => {
                only(given.is_empty() && room.is_empty())?;
                Ok(Action::Flush)
            }
            kind::GET_ID => {
                only(given.is_empty() && room.left() >= ID_BYTES)?;
                Ok(Action::Identify(room))
            }
            kind::DISCARD | kind::WRITE_ZEROES => {
                only(room.is_empty() && given.left().is_multiple_of(size_of::<Range>()))?;
                let count = given.left() / size_of::<Range>();
                only((1..=MAX_RANGES as usize).contains(&count))?;
                let allowed = if header.kind == kind::DISCARD { 0 } else { RANGE_UNMAP };
                let mut spans = Vec::with_capacity(count);
                while let Some(range) = given.read_value::<Range>() {
                    spans.push(span(range, allowed, geometry)?);
                }
                Ok(if header.kind == kind::DISCARD {
                    Action::Discard(spans)
                } else {
                    Action::WriteZeroes(spans)
                })
            }
            _ => Err(status::UNSUPP),
        }
    }
}

/// First byte of a transfer that lies on the device.
fn place(sector: u64, len: usize, geometry: Geometry) -> Result<u64, u8> {
    let len = len as u64;
    let fits = len.is_multiple_of(SECTOR)
        && sector.checked_add(len / SECTOR).is_some_and(|end| end <= geometry.sectors);
    if fits { Ok(sector * SECTOR) } else { Err(status::IOERR) }
}

fn span(range: Range, allowed: u32, geometry: Geometry) -> Result<Span, u8> {
    if range.flags & !allowed != 0 {
        return Err(status::UNSUPP);
    }
    let sectors = u64::from(range.sectors);
    let end = range.sector.checked_add(sectors);
    if range.sectors > MAX_RANGE_SECTORS || end.is_none_or(|end| end > geometry.sectors) {
        return Err(status::IOERR);
    }
    let unmap = range.flags & RANGE_UNMAP != 0;
    Ok(Span { start: range.sector * SECTOR, len: sectors * SECTOR, unmap })
}
