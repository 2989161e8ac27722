use super::*;
use chitin_core::frame::init_hosted;
use std::vec;
use std::vec::Vec;

fn read(end: &End, len: usize) -> Result<Vec<u8>, Stop> {
    let mut bytes = vec![0; len];
    let got = end.try_read(&mut IoWriter::kernel(&mut bytes))?;
    bytes.truncate(got);
    Ok(bytes)
}

fn write(end: &End, bytes: &[u8]) -> Result<usize, Stop> {
    end.try_write(&mut IoReader::kernel(bytes))
}

#[test]
fn carries_bytes_in_order_until_full() {
    init_hosted(4096);
    let (reader, writer) = Pipe::pair();
    assert_eq!(read(&reader, 1), Err(Stop::WouldBlock));
    let data: Vec<u8> = (0..100_000u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    assert_eq!(write(&writer, &data), Ok(65536));
    assert_eq!(write(&writer, b"x"), Err(Stop::WouldBlock));
    assert_eq!(reader.pipe().readable_bytes(), 65536);
    assert_eq!(read(&reader, 100_000).unwrap(), &data[..65536]);
    writer.released();
    assert_eq!(read(&reader, 1), Ok(vec![]));
}

#[test]
fn small_writes_share_a_page_and_stay_whole() {
    init_hosted(4096);
    let (reader, writer) = Pipe::pair();
    for _ in 0..16 {
        assert_eq!(write(&writer, &[7; 3000]), Ok(3000));
    }
    assert_eq!(write(&writer, &[7; 3000]), Err(Stop::WouldBlock));
    assert_eq!(write(&writer, &[8; 1000]), Ok(1000));
    assert_eq!(reader.pipe().readable_bytes(), 49000);
}

#[test]
fn packets_are_read_one_by_one() {
    init_hosted(4096);
    let (reader, writer) = Pipe::pair();
    writer.set_packets(true);
    assert_eq!(write(&writer, b"first"), Ok(5));
    assert_eq!(write(&writer, b"second"), Ok(6));
    assert_eq!(read(&reader, 3).unwrap(), b"fir");
    assert_eq!(read(&reader, 100).unwrap(), b"second");
}

#[test]
fn masks_and_last_closes() {
    init_hosted(4096);
    let (reader, writer) = Pipe::pair();
    assert_eq!(Stream::poll(&*reader, None), PollMask::empty());
    assert_eq!(Stream::poll(&*writer, None), PollMask::OUT | PollMask::WRNORM);
    write(&writer, b"x").unwrap();
    writer.released();
    assert_eq!(Stream::poll(&*reader, None), PollMask::IN | PollMask::RDNORM | PollMask::HUP);
    let (reader, writer) = Pipe::pair();
    reader.released();
    assert!(Stream::poll(&*writer, None).contains(PollMask::ERR));
    assert_eq!(write(&writer, b"x"), Err(Stop::Errno(Errno::EPIPE)));
}

#[test]
fn sizes_are_limited() {
    init_hosted(4096);
    let (reader, writer) = Pipe::pair();
    assert_eq!(reader.pipe().size(), 65536);
    assert_eq!(reader.pipe().set_size(5000, Privilege::None), Ok(8192));
    assert_eq!(write(&writer, &[1; 9000]), Ok(8192));
    assert_eq!(reader.pipe().set_size(4096, Privilege::None), Err(Errno::EBUSY));
    assert_eq!(reader.pipe().set_size(MAX_BYTES + 1, Privilege::None), Err(Errno::EPERM));
}

#[test]
fn pages_move_between_pipes() {
    init_hosted(4096);
    let (reader, writer) = Pipe::pair();
    let (second_reader, second_writer) = Pipe::pair();
    write(&writer, b"hello world").unwrap();
    assert_eq!(splice::try_tee(&reader, &second_writer, 5), Ok(5));
    assert_eq!(splice::try_move(&reader, &second_writer, 6), Ok(6));
    assert_eq!(read(&second_reader, 20).unwrap(), b"hellohello ");
    assert_eq!(read(&reader, 20).unwrap(), b"world");
    assert_eq!(splice::try_move(&reader, &second_writer, 6), Err(Stop::WouldBlock));
    assert_eq!(splice::try_move(&reader, &writer, 6), Err(Stop::Errno(Errno::EINVAL)));
}
