//! What the guest asks for with the header of a frame.

use chitin_proto::net::{ETHERNET_HEADER, Header, flag, gso};

/// Bytes of the shortest TCP header.
const TCP_HEADER: usize = 20;

/// The header with which a frame of `len` bytes goes to the host: what the guest's asks for, if that fits the frame.
///
/// # Errors
/// What is wrong with it.
pub fn checked(asked: &Header, len: usize) -> Result<Header, &'static str> {
    let start = usize::from(asked.checksum_start);
    let wants_checksum = asked.flags & flag::NEEDS_CSUM != 0;
    let mut header = Header::default();
    if wants_checksum {
        if start < ETHERNET_HEADER || start + usize::from(asked.checksum_offset) + 2 > len {
            return Err("a checksum outside the frame");
        }
        header.flags = flag::NEEDS_CSUM;
        header.checksum_start = asked.checksum_start;
        header.checksum_offset = asked.checksum_offset;
    }
    match asked.segmentation {
        gso::NONE => {}
        gso::TCPV4 | gso::TCPV6 => {
            let headers = usize::from(asked.header_bytes);
            if !wants_checksum || asked.segment_bytes == 0 || headers < start + TCP_HEADER || headers > len {
                return Err("a segmentation that does not fit the frame");
            }
            header.segmentation = asked.segmentation;
            header.segment_bytes = asked.segment_bytes;
            header.header_bytes = asked.header_bytes;
        }
        _ => return Err("a segmentation that was not offered"),
    }
    Ok(header)
}
