//! The shim's program as containerd uses it, with a stand-in for the VMM.

mod support;

use chitin_shim::ledger::Record;
use chitin_shim::task::TASK_SERVICE;
use chitin_shim::ttrpc::{Client, ClientError, Code};
use containerd_shim_protos::api;
use containerd_shim_protos::protobuf::{Message, MessageField, well_known_types::any::Any};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};
use support::{Bundle, is_root, program, text, unique};

const NAMESPACE: &str = "chitin-test";

/// A shim that was started for a bundle; nothing of it may be left when the test ends.
struct Shim {
    id: String,
    bundle: Bundle,
    client: Client,
}

fn call_shim(fault: &str, id: &str, bundle: &Path, action: &str) -> Output {
    let mut command = program(env!("CARGO_BIN_EXE_containerd-shim-chitin-v2"), fault);
    command.current_dir(bundle).args(["-namespace", NAMESPACE, "-address", "/none", "-id", id, action]);
    command.output().unwrap()
}

fn connect(output: &Output) -> Client {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let address = text(&output.stdout);
    let socket = PathBuf::from(address.strip_prefix("unix://").expect(&address));
    Client::connect(&socket, Some(Duration::from_secs(20))).unwrap()
}

impl Shim {
    fn start(fault: &str, script: &str) -> Self {
        let (id, bundle) = (unique("c"), Bundle::new(script, ""));
        let output = call_shim(fault, &id, &bundle.0, "start");
        let client = connect(&output);
        Self { id, bundle, client }
    }

    fn call<R: Message>(&mut self, method: &str, request: &impl Message) -> Result<R, ClientError> {
        self.client.call(TASK_SERVICE, method, request)
    }

    fn create(&mut self, stdout: &str) -> Result<api::CreateTaskResponse, ClientError> {
        let request = api::CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle.path(),
            stdout: stdout.to_owned(),
            ..Default::default()
        };
        self.call("Create", &request)
    }

    fn begin(&mut self, exec_id: &str) -> Result<api::StartResponse, ClientError> {
        let request =
            api::StartRequest { id: self.id.clone(), exec_id: exec_id.into(), ..Default::default() };
        self.call("Start", &request)
    }

    fn wait(&mut self, exec_id: &str) -> u32 {
        let request = api::WaitRequest { id: self.id.clone(), exec_id: exec_id.into(), ..Default::default() };
        self.call::<api::WaitResponse>("Wait", &request).unwrap().exit_status
    }

    fn kill(&mut self, signal: u32) -> Result<api::Empty, ClientError> {
        let request = api::KillRequest { id: self.id.clone(), signal, ..Default::default() };
        self.call("Kill", &request)
    }

    fn status(&mut self) -> api::Status {
        let request = api::StateRequest { id: self.id.clone(), ..Default::default() };
        self.call::<api::StateResponse>("State", &request).unwrap().status.enum_value_or_default()
    }

    fn delete(&mut self) -> Result<api::DeleteResponse, ClientError> {
        let request = api::DeleteRequest { id: self.id.clone(), ..Default::default() };
        self.call("Delete", &request)
    }

    fn record(&self) -> Option<Record> {
        Record::find(NAMESPACE, &self.id)
    }

    /// Shuts the shim down and checks that nothing is left.
    fn finish(mut self) {
        let vmm = self.record().and_then(|record| record.vmm());
        let _ = self.call::<api::Empty>("Shutdown", &api::ShutdownRequest::new());
        self.expect_clean(vmm.map(|vmm| vmm.pid));
    }

    fn expect_clean(&self, vmm: Option<u32>) {
        let end = Instant::now() + Duration::from_secs(5);
        while self.record().is_some() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.record(), None, "the ledger is left");
        if let Some(vmm) = vmm {
            assert!(!Path::new(&format!("/proc/{vmm}")).exists(), "the VMM is left");
        }
    }
}

fn code(error: &ClientError) -> Code {
    match error {
        ClientError::Refused { code, .. } => *code,
        other => panic!("{other}"),
    }
}

#[test]
fn a_container_lives_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let mut shim = Shim::start("", "echo out; exit 7");
    let fifo = shim.bundle.0.join("stdout");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            let mut output = String::new();
            std::fs::File::open(fifo).unwrap().read_to_string(&mut output).unwrap();
            output
        }
    });
    let created = shim.create(fifo.to_str().unwrap()).unwrap();
    assert_ne!(created.pid, 0);
    assert_eq!(shim.status(), api::Status::CREATED);
    assert_eq!(code(&shim.create("").unwrap_err()), Code::ALREADY_EXISTS);
    assert_eq!(shim.begin("").unwrap().pid, created.pid);
    assert_eq!(shim.wait(""), 7);
    assert_eq!(shim.status(), api::Status::STOPPED);
    assert_eq!(code(&shim.kill(9).unwrap_err()), Code::NOT_FOUND);
    assert_eq!(shim.delete().unwrap().exit_status, 7);
    assert_eq!(reader.join().unwrap(), "out\n");
    shim.finish();
}

#[test]
fn a_killed_container_reports_137_and_execs_report_theirs() {
    if !is_root() {
        return;
    }
    let mut shim = Shim::start("", "exec sleep 100");
    shim.create("").unwrap();
    shim.begin("").unwrap();
    let process = r#"{"cwd": "/", "args": ["sh", "-c", "exit 5"], "user": {"uid": 0, "gid": 0}}"#;
    let exec = api::ExecProcessRequest {
        id: shim.id.clone(),
        exec_id: "e".to_owned(),
        spec: MessageField::some(Any { value: process.into(), ..Default::default() }),
        ..Default::default()
    };
    shim.call::<api::Empty>("Exec", &exec).unwrap();
    shim.begin("e").unwrap();
    assert_eq!(shim.wait("e"), 5);
    assert_eq!(code(&shim.delete().unwrap_err()), Code::FAILED_PRECONDITION);
    shim.kill(9).unwrap();
    assert_eq!(shim.wait(""), 137);
    shim.delete().unwrap();
    shim.finish();
}

#[test]
fn a_vmm_that_dies_ends_its_containers() {
    if !is_root() {
        return;
    }
    let mut shim = Shim::start("", "exec sleep 100");
    let pid = shim.create("").unwrap().pid;
    shim.begin("").unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert_eq!(shim.wait(""), 137);
    shim.delete().unwrap();
    shim.finish();
}

#[test]
fn a_vmm_that_dies_in_create_is_told() {
    if !is_root() {
        return;
    }
    for (fault, named) in [("die-in-create", "status 3"), ("no-kvm", "/dev/kvm")] {
        let mut shim = Shim::start(fault, "true");
        let error = shim.create("").unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
        shim.finish();
    }
}

#[test]
fn delete_cleans_up_after_a_killed_shim() {
    if !is_root() {
        return;
    }
    let mut shim = Shim::start("", "exec sleep 100");
    let vmm = shim.create("").unwrap().pid;
    shim.begin("").unwrap();
    let connect = api::ConnectRequest { id: shim.id.clone(), ..Default::default() };
    let pid = shim.call::<api::ConnectResponse>("Connect", &connect).unwrap().shim_pid;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let output = call_shim("", &shim.id, &shim.bundle.0, "delete");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let response = api::DeleteResponse::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!((response.exit_status, response.pid), (137, vmm));
    shim.expect_clean(None);
}

#[test]
fn containers_of_a_pod_share_a_shim() {
    if !is_root() {
        return;
    }
    let mut pod = Shim::start("", "exec sleep 100");
    pod.create("").unwrap();
    let annotations = format!(
        r#", "annotations": {{"io.kubernetes.cri.sandbox-id": {:?}, "io.kubernetes.cri.container-type": "container"}}"#,
        pod.id
    );
    let (id, bundle) = (unique("member"), Bundle::new("exit 3", &annotations));
    let client = connect(&call_shim("", &id, &bundle.0, "start"));
    let mut member = Shim { id, bundle, client };
    member.create("").unwrap();
    member.begin("").unwrap();
    assert_eq!(member.wait(""), 3);
    member.delete().unwrap();
    assert_eq!(member.record(), None);
    assert_eq!(pod.status(), api::Status::CREATED);
    pod.delete().unwrap();
    pod.finish();
    let stray = Bundle::new("true", r#", "annotations": {"io.kubernetes.cri.sandbox-id": "no-such-pod"}"#);
    let output = call_shim("", &unique("stray"), &stray.0, "start");
    assert!(!output.status.success() && text(&output.stderr).contains("no-such-pod"));
}

#[test]
fn a_missing_bundle_is_told() {
    let empty = std::env::temp_dir();
    let output = call_shim("", &unique("none"), &empty, "start");
    assert!(!output.status.success() && text(&output.stderr).contains("config.json"));
}
