use super::key::{Kind, Payload, Serial};
use super::table::{MAX_KEYS, Table};
use super::{Access, KeyStore, Need, Rings};
use crate::abi::Errno;
use crate::mm::Budget;
use crate::platform::hosted;
use crate::security::Creds;
use alloc::sync::Arc;
use chitin_core::sleep::Sleeper;
use std::string::String;
use std::vec::Vec;

fn bytes(text: &[u8]) -> Payload {
    Payload::Bytes(text.to_vec())
}

fn user(uid: u32) -> Creds {
    Creds {
        uid,
        euid: uid,
        suid: uid,
        fsuid: uid,
        gid: uid,
        egid: uid,
        sgid: uid,
        fsgid: uid,
        effective: 0,
        ..Creds::root()
    }
}

struct World {
    budget: Arc<Budget>,
    store: Arc<KeyStore>,
}

impl World {
    fn new() -> Self {
        let budget = Budget::root().child(1 << 20);
        Self { store: KeyStore::new(budget.clone()), budget }
    }

    fn rings(&self) -> Rings {
        Rings::new(self.store.clone())
    }

    fn count(&self) -> usize {
        self.store.table.lock().keys.len()
    }
}

fn check(test: impl Fn(&World) + Send + Sync + Clone + 'static) {
    hosted::for_seeds(1, move |_: &Sleeper| test(&World::new()));
}

fn ring(keys: &mut Access<'_>, into: Serial, name: &[u8]) -> Serial {
    keys.add(into, b"keyring", name, &bytes(b"")).unwrap()
}

#[test]
fn keys_live_as_long_as_somebody_has_them() {
    check(|world| {
        let creds = user(7);
        let mut rings = world.rings();
        let key = {
            let mut keys = rings.access(&creds, 0);
            let key = keys.add(-1, b"user", b"a", &bytes(b"one")).unwrap();
            assert_eq!(keys.read(key).unwrap(), b"one");
            assert_eq!(keys.add(-1, b"user", b"a", &bytes(b"two")).unwrap(), key);
            assert_eq!(keys.read(key).unwrap(), b"two");
            keys.link(key, -2).unwrap();
            keys.unlink(key, -1).unwrap();
            assert_eq!(keys.unlink(key, -1), Err(Errno::ENOENT));
            key
        };
        assert_eq!(rings.access(&creds, 0).read(key).unwrap(), b"two");
        rings.after_exec();
        assert_eq!(rings.access(&creds, 0).read(key), Err(Errno::ENOKEY));
        assert_eq!(world.count(), 0);
        assert_eq!(world.budget.used(), 0);
    });
}

#[test]
fn children_have_the_session_and_threads_the_process() {
    check(|world| {
        let creds = user(7);
        let mut rings = world.rings();
        let key = {
            let mut keys = rings.access(&creds, 0);
            keys.join_session(None).unwrap();
            keys.add(-2, b"user", b"p", &bytes(b"x")).unwrap();
            keys.add(-3, b"user", b"s", &bytes(b"x")).unwrap()
        };
        let mut child = rings.of_child();
        let mut thread = rings.of_thread(&creds);
        drop(rings);
        assert_eq!(child.access(&creds, 0).request(b"user", b"s", 0), Ok(key));
        assert_eq!(child.access(&creds, 0).request(b"user", b"p", 0), Err(Errno::ENOKEY));
        assert!(thread.access(&creds, 0).request(b"user", b"p", 0).is_ok());
        drop((child, thread));
        assert_eq!(world.count(), 0);
    });
}

#[test]
fn possession_and_permissions_decide() {
    check(|world| {
        let (one, other) = (user(7), user(8));
        let (mut rings, mut others) = (world.rings(), world.rings());
        let key = rings.access(&one, 0).add(-1, b"user", b"a", &bytes(b"x")).unwrap();
        let mut keys = others.access(&other, 0);
        assert_eq!(keys.read(key), Err(Errno::EACCES));
        assert_eq!(keys.describe(key), Err(Errno::EACCES));
        assert_eq!(keys.look_up(key, false, Need::Link), Err(Errno::EACCES));
        drop(keys);
        rings.access(&one, 0).set_permissions(key, 0x3f3f_0010).unwrap();
        let mut keys = others.access(&other, 0);
        keys.link(key, -1).unwrap();
        assert_eq!(keys.read(key).unwrap(), b"x", "who possesses it reads it");
        assert_eq!(keys.set_permissions(key, 0), Err(Errno::EACCES));
        drop(keys);
        rings.access(&one, 0).set_permissions(key, 0).unwrap();
        assert_eq!(rings.access(&one, 0).read(key), Err(Errno::EACCES));
        assert_eq!(rings.access(&one, 0).set_permissions(key, 1), Err(Errno::EACCES));
    });
}

#[test]
fn what_cannot_be_used_says_why() {
    check(|world| {
        let creds = user(7);
        let mut rings = world.rings();
        let mut keys = rings.access(&creds, 100);
        let (a, b, c) = (
            keys.add(-1, b"user", b"a", &bytes(b"x")).unwrap(),
            keys.add(-1, b"user", b"b", &bytes(b"x")).unwrap(),
            keys.add(-1, b"logon", b"c:c", &bytes(b"x")).unwrap(),
        );
        keys.set_timeout(a, 5).unwrap();
        keys.revoke(b).unwrap();
        assert_eq!(keys.read(b), Err(Errno::EKEYREVOKED));
        assert_eq!(keys.request(b"user", b"b", 0), Err(Errno::EKEYREVOKED));
        assert_eq!(keys.read(c), Err(Errno::EOPNOTSUPP));
        keys.invalidate(c).unwrap();
        assert_eq!(keys.describe(c), Err(Errno::ENOKEY));
        drop(keys);
        let mut keys = rings.access(&creds, 105);
        assert_eq!(keys.read(a), Err(Errno::EKEYEXPIRED));
        assert_eq!(keys.search(-1, b"user", b"a", 0), Err(Errno::EKEYEXPIRED));
        assert_eq!(keys.request(b"user", b"a", 0), Err(Errno::ENOKEY));
        drop(keys);
        // Later they are gone.
        let mut keys = rings.access(&creds, 500);
        assert_eq!(keys.read(-1).unwrap(), b"");
        assert_eq!(keys.describe(a), Err(Errno::ENOKEY));
    });
}

#[test]
fn rings_are_in_rings_but_not_in_themselves() {
    check(|world| {
        let creds = user(7);
        let mut rings = world.rings();
        let mut keys = rings.access(&creds, 0);
        let first = ring(&mut keys, -1, b"0");
        let mut deepest = first;
        let mut depth = 0;
        for name in [b"1", b"2", b"3", b"4", b"5", b"6"] {
            deepest = ring(&mut keys, deepest, name);
            depth += 1;
        }
        assert_eq!(depth, 6);
        assert_eq!(keys.link(first, deepest), Err(Errno::EDEADLK));
        assert_eq!(keys.link(deepest, deepest), Err(Errno::EDEADLK));
        let key = keys.add(deepest, b"user", b"k", &bytes(b"x")).unwrap();
        assert_eq!(keys.search(first, b"user", b"k", 0), Ok(key));
        assert_eq!(keys.search(-1, b"user", b"k", 0), Err(Errno::ENOKEY), "one ring too deep");
        let seventh = ring(&mut keys, deepest, b"7");
        let aside = ring(&mut keys, -1, b"aside");
        assert_eq!(keys.link(first, aside), Err(Errno::ELOOP));
        assert_eq!(keys.unlink(seventh, deepest), Ok(()));
        assert_eq!(keys.link(first, aside), Ok(()));
        assert_eq!(keys.link(key, aside), Err(Errno::EACCES), "too deep to be possessed");
        let near = keys.add(-1, b"user", b"near", &bytes(b"x")).unwrap();
        keys.restrict(aside, false).unwrap();
        assert_eq!(keys.link(near, aside), Err(Errno::EPERM));
    });
}

#[test]
fn quotas_are_given_back() {
    check(|world| {
        let creds = user(7);
        let mut rings = world.rings();
        let mut keys = rings.access(&creds, 0);
        let top = ring(&mut keys, -1, b"top");
        let names: Vec<String> = (0..MAX_KEYS).map(|at| std::format!("{at}")).collect();
        let made =
            names.iter().take_while(|name| keys.add(top, b"user", name.as_bytes(), &bytes(b"x")).is_ok());
        assert_eq!(made.count(), MAX_KEYS - 2);
        assert_eq!(keys.add(top, b"user", b"more", &bytes(b"x")), Err(Errno::EDQUOT));
        keys.clear(top).unwrap();
        let large = bytes(&[0; 19_000]);
        let key = keys.add(top, b"user", b"large", &large).unwrap();
        assert_eq!(keys.add(top, b"user", b"other", &large), Err(Errno::EDQUOT));
        keys.update(key, &bytes(b"small")).unwrap();
        assert_eq!(keys.add(top, b"user", b"other", &bytes(&[0; 40_000])), Err(Errno::EINVAL));
        drop(keys);
        drop(rings);
        assert_eq!(world.count(), 0);
        let table = world.store.table.lock();
        assert!(table.users.is_empty());
        let _: &Table = &table;
        assert_eq!(Kind::by_name(b"asymmetric"), None);
    });
}
