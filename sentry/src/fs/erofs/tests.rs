//! Images of one tree made by mkfs.erofs, whole and damaged. The tree: `short` (also `hard`), `inline` of 5,000 bytes, `plain`
//! of 8,192, `holes`, `empty`, a FIFO, a device, and `many` with 200 files and a link.

use super::image::{Image, Source};
use super::inode::Inode;
use super::{ErofsFs, directory, xattr};
use crate::abi::Errno;
use crate::fs::node::{LinkTarget, NewNode};
use crate::fs::{FileSystem, FsCx, NodeKind, block};
use crate::mm::Budget;
use crate::platform::BlockGeometry;
use crate::platform::hosted;
use crate::platform::hosted::disk::MemoryDisk;
use crate::security::Creds;
use crate::user::IoWriter;
use std::boxed::Box;
use std::format;
use std::vec;
use std::vec::Vec;

const IMAGES: [&[u8]; 2] = [include_bytes!("testdata/flat.img"), include_bytes!("testdata/chunks.img")];

struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Errno> {
        let at = usize::try_from(at).map_err(|_| Errno::EIO)?;
        let end = at.checked_add(to.len()).ok_or(Errno::EIO)?;
        to.copy_from_slice(self.0.get(at..end).ok_or(Errno::EIO)?);
        Ok(())
    }
}

fn inline_bytes() -> Vec<u8> {
    (0..5000u32).map(|at| (at * 7 + at / 256) as u8).collect()
}

fn plain_bytes() -> Vec<u8> {
    (0..8192u32).map(|at| (at * 3 + at / 256) as u8).collect()
}

fn holes_bytes() -> Vec<u8> {
    [vec![b'a'; 4096], vec![0; 12288], vec![b'z'; 100]].concat()
}

fn contents(image: &Image, bytes: &[u8], name: &[u8]) -> (Inode, Vec<u8>) {
    let source = Bytes(bytes);
    let root = Inode::read(image, &source, image.root).unwrap();
    let inode = Inode::read(image, &source, directory::find(image, &source, &root, name).unwrap()).unwrap();
    let mut all = vec![0; inode.size as usize + 10];
    let len = image.read(&source, &inode, 0, &mut all).unwrap();
    all.truncate(len);
    (inode, all)
}

#[test]
fn files_of_every_layout_are_read() {
    for bytes in IMAGES {
        let image = Image::open(&Bytes(bytes), bytes.len() as u64).unwrap();
        assert_eq!(contents(&image, bytes, b"short").1, b"short\n");
        assert_eq!(contents(&image, bytes, b"inline").1, inline_bytes());
        assert_eq!(contents(&image, bytes, b"holes").1, holes_bytes());
        assert_eq!(contents(&image, bytes, b"empty").1, b"");
        let (plain, all) = contents(&image, bytes, b"plain");
        assert_eq!(all, plain_bytes());
        assert_eq!((plain.mode, plain.uid, plain.gid, plain.links), (0o100_755, 1000, 70000, 1));
        let (short, hard) = (contents(&image, bytes, b"short").0, contents(&image, bytes, b"hard").0);
        assert_eq!((short.nid, short.links), (hard.nid, 2));
        assert_eq!(contents(&image, bytes, b"dev").0.rdev, 0x103);
        assert_eq!(contents(&image, bytes, b"fifo").0.mode & 0o170_000, 0o010_000);
        let mut part = [0; 700];
        let (inode, _) = contents(&image, bytes, b"inline");
        assert_eq!(image.read(&Bytes(bytes), &inode, 4000, &mut part).unwrap(), 700);
        assert_eq!(part[..], inline_bytes()[4000..4700]);
    }
}

#[test]
fn directories_of_several_blocks_are_searched_and_listed() {
    for bytes in IMAGES {
        let (image, source) = (Image::open(&Bytes(bytes), bytes.len() as u64).unwrap(), Bytes(bytes));
        let (many, _) = contents(&image, bytes, b"many");
        assert!(many.size > image.block_size());
        for number in 0..200 {
            let name = format!("name-of-entry-{number:03}");
            let nid = directory::find(&image, &source, &many, name.as_bytes()).unwrap();
            assert_eq!(Inode::read(&image, &source, nid).unwrap().size == 0, number % 50 != 0);
        }
        for name in ["", "a", "name-of-entry-0005", "name-of-entry-200", "zzz", "..."] {
            assert_eq!(
                directory::find(&image, &source, &many, name.as_bytes()),
                Err(Errno::ENOENT),
                "{name}"
            );
        }
        // Three entries at a time.
        let (mut names, mut position) = (Vec::new(), 0);
        loop {
            let before = names.len();
            directory::list(&image, &source, &many, position, |found, next| {
                let takes = names.len() < before + 3;
                if takes {
                    names.push(found.name.to_vec());
                    position = next;
                }
                takes
            })
            .unwrap();
            if names.len() == before {
                break;
            }
        }
        assert_eq!(names.len(), 203);
        assert!(names.is_sorted() && names.contains(&b".".to_vec()) && names.contains(&b"link".to_vec()));
    }
}

#[test]
fn attributes_behind_the_node_and_shared_ones() {
    for bytes in IMAGES {
        let (image, source) = (Image::open(&Bytes(bytes), bytes.len() as u64).unwrap(), Bytes(bytes));
        let get =
            |file: &[u8], name: &[u8]| xattr::get(&image, &source, &contents(&image, bytes, file).0, name);
        assert_eq!(get(b"short", b"user.one").unwrap(), b"first");
        assert_eq!(get(b"empty", b"user.one").unwrap(), b"first");
        assert_eq!(get(b"short", b"user.two").unwrap(), vec![b'x'; 300]);
        assert_eq!(get(b"inline", b"trusted.deep").unwrap(), b"t");
        assert_eq!(get(b"inline", b"user.two"), Err(Errno::ENODATA));
        assert_eq!(get(b"holes", b"user.one"), Err(Errno::ENODATA));
        let names = xattr::list(&image, &source, &contents(&image, bytes, b"short").0).unwrap();
        let mut names: Vec<&[u8]> = names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        assert_eq!(names, [&b"user.one"[..], b"user.two"]);
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let open = |bytes: &[u8]| Image::open(&Bytes(bytes), bytes.len() as u64).map(drop);
    assert_eq!(open(&[0; 100]), Err(Errno::EINVAL));
    assert_eq!(open(&[0; 8192]), Err(Errno::EINVAL));
    let mut bytes = IMAGES[0].to_vec();
    assert_eq!(open(&bytes[..20000]), Err(Errno::EUCLEAN), "cut short");
    bytes[1024 + 60] ^= 1;
    assert_eq!(open(&bytes), Err(Errno::EUCLEAN), "checksum");
    bytes[1024 + 8] &= !1;
    assert_eq!(open(&bytes), Ok(()), "no checksum");
    bytes[1024 + 80] |= 2;
    assert_eq!(open(&bytes), Err(Errno::EINVAL), "compression");
}

/// Reads all that there is in an image; returns the nodes met.
fn walk(bytes: &[u8]) -> usize {
    let source = Bytes(bytes);
    let Ok(image) = Image::open(&source, bytes.len() as u64) else { return 0 };
    let (mut left, mut seen) = (vec![image.root], Vec::new());
    while let Some(nid) = left.pop() {
        if seen.contains(&nid) || seen.len() > 400 {
            continue;
        }
        seen.push(nid);
        let Ok(inode) = Inode::read(&image, &source, nid) else { continue };
        let mut part = [0; 600];
        for offset in [0, 4095, inode.size / 2, inode.size.saturating_sub(100), u64::MAX - 5] {
            let _ = image.read(&source, &inode, offset, &mut part);
        }
        let _ = xattr::list(&image, &source, &inode);
        let _ = xattr::get(&image, &source, &inode, b"user.two");
        if inode.mode & 0o170_000 == 0o040_000 {
            let _ = directory::find(&image, &source, &inode, b"name-of-entry-077");
            let mut entries = 0;
            let _ = directory::list(&image, &source, &inode, 0, |found, _| {
                left.push(found.nid);
                entries += 1;
                entries < 1000
            });
            let _ = directory::list(&image, &source, &inode, u64::MAX - 10, |_, _| true);
        }
    }
    seen.len()
}

#[test]
fn damaged_images_do_no_harm() {
    assert!(walk(IMAGES[0]) > 200 && walk(IMAGES[1]) > 200);
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..400 {
        let mut bytes = IMAGES[round % 2].to_vec();
        // Without the checksum, or hardly any damage would get through.
        bytes[1024 + 8] &= !1;
        for _ in 0..1 + random() % 60 {
            let value = [0, 1, 0x7f, 0x80, 0xff, random() as u8][(random() % 6) as usize];
            let within = [bytes.len() as u64, 8192, 1152][(random() % 3) as usize];
            let at = random() % within;
            if (1032..1033).contains(&at) {
                continue;
            }
            bytes[at as usize] = value;
        }
        if random() % 10 == 0 {
            bytes.truncate((random() % bytes.len() as u64) as usize);
        }
        walk(&bytes);
    }
}

#[test]
fn a_mounted_image_is_a_file_system() {
    hosted::for_seeds(2, |sleeper| {
        for (slot, bytes) in IMAGES.into_iter().enumerate() {
            let geometry = BlockGeometry {
                sectors: bytes.len() as u64 / 512,
                block_size: 512,
                physical_block_size: 4096,
                is_read_only: true,
                max_discard_sectors: 0,
                max_zero_sectors: 0,
            };
            let disk: &'static MemoryDisk = Box::leak(Box::new(MemoryDisk::new(geometry)));
            disk.state().bytes.copy_from_slice(bytes);
            let budget = Budget::root().child(4000);
            let device = block::attach(4 + slot, disk, 99, &budget).unwrap();
            let creds = Creds::root();
            let cx = FsCx::kernel(sleeper, &creds);
            let fs = ErofsFs::open(&cx, &device).unwrap();
            let root = fs.root();
            for (name, wanted) in [
                ("inline", inline_bytes()),
                ("plain", plain_bytes()),
                ("holes", holes_bytes()),
                ("empty", Vec::new()),
            ] {
                let node = root.dir().unwrap().lookup(&cx, name.as_bytes()).unwrap();
                let NodeKind::File(file) = &node.kind else { panic!("{name}") };
                let mut read = vec![1; wanted.len() + 5];
                let mapping = file.mapping().unwrap();
                let len = mapping.read(sleeper, 0, &mut IoWriter::kernel(&mut read)).unwrap_or(usize::MAX);
                assert_eq!((len, &read[..len]), (wanted.len(), &wanted[..]), "{name}");
                assert_eq!(node.ops.attr(&cx).unwrap().size, wanted.len() as u64);
                // One node, whoever asks.
                assert!(std::sync::Arc::ptr_eq(
                    &node,
                    &root.dir().unwrap().lookup(&cx, name.as_bytes()).unwrap()
                ));
            }
            let many = root.dir().unwrap().lookup(&cx, b"many").unwrap();
            let link = many.dir().unwrap().lookup(&cx, b"link").unwrap();
            let NodeKind::Symlink(link) = &link.kind else { panic!("no link") };
            assert!(matches!(link.target(&cx).unwrap(), LinkTarget::Path(path) if path == b"../short"));
            assert!(
                many.dir()
                    .unwrap()
                    .create(&cx, b"x", &NewNode::File, 0o644)
                    .is_err_and(|e| e == Errno::EROFS)
            );
            drop((fs, root, many));
            block::detach(sleeper, 99);
        }
    });
}
