use super::*;
use crate::fs::node::{NodeOps, OpenState};
use crate::fs::{Attr, FileBody, FileNode, FsCx, Node, SetAttr};
use crate::platform::{Access, hosted};
use crate::user::{IoReader, IoWriter, UserMemory, UserPtr};
use crate::wait::Stop;
use std::vec::Vec;

struct TestFile(Arc<Mapping>);

impl NodeOps for TestFile {
    fn attr(&self, _cx: &FsCx<'_>) -> Result<Attr, Errno> {
        Ok(Attr::default())
    }
    fn set_attr(&self, _cx: &FsCx<'_>, _change: &SetAttr) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }
    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

impl FileNode for TestFile {
    fn mapping(&self) -> Option<Arc<Mapping>> {
        Some(self.0.clone())
    }
    fn open(&self, _cx: &FsCx<'_>, _flags: u32) -> Result<OpenState, Errno> {
        Ok(None)
    }
    fn read(&self, _: &FsCx<'_>, _: &OpenFile, _: u64, _: &mut IoWriter<'_>) -> Result<usize, Stop> {
        Err(Errno::EIO.into())
    }
    fn write(&self, _: &FsCx<'_>, _: &OpenFile, _: u64, _: &mut IoReader<'_>) -> Result<usize, Stop> {
        Err(Errno::EIO.into())
    }
    fn sync(&self, _cx: &FsCx<'_>) -> Result<(), Errno> {
        Ok(())
    }
    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

fn open(sleeper: &Sleeper, bytes: &[u8]) -> Arc<OpenFile> {
    let mapping = Mapping::memory();
    mapping.write(sleeper, 0, &mut IoReader::kernel(bytes)).unwrap();
    let file = Arc::new(TestFile(mapping));
    OpenFile::new(FileBody::Node(Node::new(file.clone(), NodeKind::File(file)), None), 0)
}

fn load(sleeper: &Sleeper, bytes: &[u8], interpreter: Option<&[u8]>) -> Result<LoadedImage, Errno> {
    let budget = Budget::root();
    let mut arguments = Arguments::new(&budget, 8 << 20)?;
    arguments.push_argument(b"script")?;
    arguments.push_argument(b"two")?;
    arguments.push_environment(b"A=1")?;
    arguments.push_environment(b"")?;
    arguments.interpret(b"/bin/x", Some(b"-e"), b"./script")?;
    load_image(&ImageRequest {
        sleeper,
        file: &open(sleeper, bytes),
        open_interpreter: &|path| {
            let found = interpreter.filter(|_| path.starts_with(b"/lib"));
            found.map(|bytes| open(sleeper, bytes)).ok_or(Errno::ENOENT)
        },
        arguments: &arguments,
        exec_name: b"/bin/x",
        creds: &Creds::root(),
        secure: false,
        randomize: Randomize::Full,
        limits: Limits::default(),
        budget,
    })
}

fn strings(user: &UserMemory<'_>, at: &mut u64) -> Vec<std::string::String> {
    let mut found = Vec::new();
    loop {
        let pointer: u64 = user.read(UserPtr::new(UserAddr::new(*at))).unwrap();
        *at += 8;
        if pointer == 0 {
            return found;
        }
        let text = user.read_cstr(UserAddr::new(pointer), 4096, Errno::E2BIG).unwrap();
        found.push(std::string::String::from_utf8(text).unwrap());
    }
}

fn check_stack(sleeper: &Sleeper, image: &LoadedImage) -> std::collections::BTreeMap<u64, u64> {
    let user = UserMemory { mm: &image.mm, sleeper };
    let sp = image.stack_pointer.get();
    assert_eq!(sp % 16, 0);
    assert_eq!(user.read::<u64>(UserPtr::new(image.stack_pointer)).unwrap(), 4);
    let mut at = sp + 8;
    assert_eq!(strings(&user, &mut at), ["/bin/x", "-e", "./script", "two"]);
    assert_eq!(strings(&user, &mut at), ["A=1", ""]);
    let layout = image.mm.layout();
    assert_eq!(layout.auxv.0, at);
    let auxv: std::collections::BTreeMap<u64, u64> =
        image.mm.auxv(sleeper).chunks(2).map(|pair| (pair[0], pair[1])).collect();
    let name = user.read_cstr(UserAddr::new(auxv[&31]), 64, Errno::E2BIG).unwrap();
    assert_eq!(name, b"/bin/x");
    let mut cmdline = std::vec![0; (layout.arguments.1 - layout.arguments.0) as usize];
    image.mm.read_remote(sleeper, UserAddr::new(layout.arguments.0), &mut cmdline);
    assert_eq!(cmdline, b"/bin/x\0-e\0./script\0two\0");
    auxv
}

#[test]
fn a_static_program_is_mapped_as_its_headers_say() {
    let Ok(bytes) = std::fs::read("/bin/busybox") else { return };
    hosted::run(1, move |sleeper| {
        let image = load(sleeper, &bytes, None).unwrap();
        let auxv = check_stack(sleeper, &image);
        // The program headers are where the vector says, and the entry point's bytes are the file's.
        let mut headers = std::vec![0; 56 * auxv[&5] as usize];
        assert_eq!(image.mm.read_remote(sleeper, UserAddr::new(auxv[&3]), &mut headers), headers.len());
        assert_eq!(headers, bytes[64..64 + headers.len()]);
        assert_eq!(image.mm.resolve_fault(sleeper, image.entry, Access::Execute), Ok(()));
        assert!(image.mm.resolve_fault(sleeper, image.entry, Access::Write).is_err());
        let brk = image.mm.brk(sleeper, UserAddr::NULL);
        let more = UserAddr::new(brk.get() + 10000);
        assert_eq!(image.mm.brk(sleeper, more), more);
        image.mm.write_remote(sleeper, brk, b"heap").unwrap();
        assert!(image.mm.areas().iter().any(|area| area.name == b"[heap]"));
        assert!(image.mm.areas().iter().any(|area| area.name == b"[stack]"));
        let used = Budget::root().used();
        assert!(used > 0);
        image.mm.leave(sleeper);
    });
}

#[test]
fn a_dynamic_program_starts_in_its_interpreter() {
    let (Ok(program), Ok(interpreter)) =
        (std::fs::read("/bin/true"), std::fs::read("/lib64/ld-linux-x86-64.so.2"))
    else {
        return;
    };
    hosted::run(1, move |sleeper| {
        let image = load(sleeper, &program, Some(&interpreter)).unwrap();
        let auxv = check_stack(sleeper, &image);
        let base = auxv[&7];
        assert!(base > 0x7000_0000_0000 && image.entry.get() > base);
        let mut magic = [0; 4];
        image.mm.read_remote(sleeper, UserAddr::new(base), &mut magic);
        assert_eq!(&magic, b"\x7fELF");
        assert!(auxv[&9] > image::PIE_BASE);
        assert_eq!(load(sleeper, &program, None).err(), Some(Errno::ENOENT));
        assert_eq!(load(sleeper, &program, Some(b"#!/bin/sh")).err(), Some(Errno::ELIBBAD));
    });
}

#[test]
fn broken_files_are_refused() {
    let Ok(bytes) = std::fs::read("/bin/true") else { return };
    hosted::run(1, move |sleeper| {
        assert_eq!(load(sleeper, b"", None).err(), Some(Errno::ENOEXEC));
        assert_eq!(load(sleeper, b"#!/bin/sh\n", None).err(), Some(Errno::ENOEXEC));
        // Flip each byte of the headers: any error will do, a panic will not.
        for at in 0..64 + 56 * 13 {
            let mut broken = bytes[..bytes.len().min(20000)].to_vec();
            for value in [0, 0x7f, 0xff, broken[at] ^ 1] {
                broken[at] = value;
                drop(load(sleeper, &broken, Some(&bytes)));
            }
        }
    });
}

#[test]
fn strings_are_limited() {
    hosted::run(1, |_| {
        let budget = Budget::root();
        let mut arguments = Arguments::new(&budget, 0).unwrap();
        assert_eq!(arguments.push_argument(&std::vec![b'x'; 128 << 10]), Err(Errno::E2BIG));
        let before = budget.used();
        let pushed = (0..).take_while(|_| arguments.push_argument(&[b'x'; 1000]).is_ok()).count();
        assert_eq!(pushed, (128 << 10) / 1009);
        assert!(budget.used() - before >= 31);
        assert_eq!(arguments.push_argument(b"a\0b"), Err(Errno::EINVAL));
    });
}
