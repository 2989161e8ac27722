//! The file server against a scripted FUSE client, well-behaved and hostile.

mod behaviour;
mod hostile;
mod jailed;

use super::FileServer;
use super::shares::Shares;
use crate::machine::memory::GuestRam;
use crate::virtio::driver::{Driver, RAM};
use crate::virtio::queue::VirtQueue;
use chitin_proto::fuse::{EntryOut, InHeader, OutHeader, ROOT_ID, opcode};
use chitin_proto::vmm::{Access, CachePolicy, Share};
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A directory that is removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("chitin-fileserver-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn share(shares: &Shares, name: &str, path: &Path, access: Access) {
    let root = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let spec = Share { name: name.to_owned(), access, policy: CachePolicy::Exclusive };
    shares.attach(&spec, root).unwrap();
}

/// A FUSE client.
struct Client {
    ram: Arc<GuestRam>,
    queue: VirtQueue,
    driver: Driver,
    server: FileServer,
    shares: Arc<Shares>,
    scratch: Scratch,
    unique: u64,
    owner: (u32, u32),
}

impl Client {
    /// A server with one share, `s`.
    fn new(access: Access) -> Self {
        Self::with_budget(access, 1000)
    }

    fn with_budget(access: Access, budget: usize) -> Self {
        let scratch = Scratch::new();
        let shares = Arc::new(Shares::default());
        share(&shares, "s", &scratch.0, access);
        let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let ram = Arc::new(GuestRam::new(RAM).unwrap());
        let (queue, driver) = Driver::new(&ram, "fs.1", 64, 0);
        let server = FileServer::new(Arc::clone(&shares), budget).unwrap();
        Self { ram, queue, driver, server, shares, scratch, unique: 0, owner }
    }

    /// One request of raw bytes with rooms for the answer; the answer's bytes.
    fn raw(&mut self, request: &[&[u8]], rooms: &[u32]) -> Result<Vec<u8>, String> {
        let at = self.driver.submit(request, rooms);
        let mut chain = self.queue.pop(&self.ram).unwrap().unwrap();
        let written = self.server.serve(&mut chain)?;
        let all = at.iter().zip(rooms).flat_map(|(at, len)| self.driver.bytes(*at, *len as usize));
        let bytes: Vec<u8> = all.take(written).collect();
        assert_eq!(bytes.len(), written);
        Ok(bytes)
    }

    fn header(&mut self, operation: u32, node: u64, body: usize) -> InHeader {
        self.unique += 1;
        InHeader {
            len: u32::try_from(40 + body).unwrap(),
            opcode: operation,
            unique: self.unique,
            node,
            uid: self.owner.0,
            gid: self.owner.1,
            ..InHeader::default()
        }
    }

    /// One well-formed request; the payload, or the errno.
    fn call(&mut self, operation: u32, node: u64, body: &[&[u8]], room: u32) -> Result<Vec<u8>, i32> {
        let body = body.concat();
        let header = self.header(operation, node, body.len());
        let answer = self.raw(&[header.as_bytes(), &body], &[16, room]).unwrap();
        let (out, rest) = OutHeader::read_from_prefix(&answer).unwrap();
        assert_eq!(out.unique, self.unique);
        assert_eq!(out.len as usize, answer.len());
        if out.error == 0 { Ok(rest.to_vec()) } else { Err(-out.error) }
    }

    fn lookup(&mut self, parent: u64, name: &str) -> Result<EntryOut, i32> {
        let body = [name.as_bytes(), b"\0"];
        self.call(opcode::LOOKUP, parent, &body, 256).map(|bytes| take(&bytes))
    }

    /// Node of the share's root.
    fn root(&mut self) -> u64 {
        self.lookup(ROOT_ID, "s").unwrap().node
    }
}

/// The structure at the front of an answer.
fn take<T: FromBytes + FromZeros>(bytes: &[u8]) -> T {
    T::read_from_prefix(bytes).map(|(value, _)| value).unwrap()
}
