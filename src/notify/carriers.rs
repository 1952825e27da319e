//! The ways a message goes: an HTTP request, a mail, a program. Each comes back with an answer for its service to judge.
//!
//! No error names an address or a value. Called by [`super::sender`].

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{self, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{AsyncTransport, Tokio1Executor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

use super::services::smtp::Tls;
use super::services::{Command, Dispatch, Mail, Reply};
use crate::config::plan::{NotifierPlan, Transport};
use crate::reason::NotifierReason;
use crate::transport;

/// As much of an answer as is read.
const BODY: usize = 64 * 1024;

/// What a command finds in its environment. The rest of ours stays here: secrets live in it.
const ENVIRONMENT: [&str; 11] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "DISPLAY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// The ways of one notifier.
#[derive(Debug)]
pub struct Carriers {
    /// Its own HTTP client: it is written to a few times a day.
    http: Result<reqwest::Client, String>,
    /// How long anything may take.
    timeout: Duration,
    /// Where the relative path of a command starts from.
    directory: PathBuf,
}

impl Carriers {
    /// The ways of this notifier.
    pub fn of(plan: &NotifierPlan) -> Self {
        let transport =
            Transport { connect_timeout: plan.timeout, proxy: plan.proxy.clone(), ca_file: None, client_cert: None };
        let http = transport::client(&transport, None).map_err(|error| error.to_string());
        Self { http, timeout: plan.timeout, directory: plan.directory.clone() }
    }

    /// Sends, and brings the answer back.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn carry(&self, dispatch: Dispatch) -> Result<Reply, NotifierReason> {
        match dispatch {
            Dispatch::Http(request) => self.request(request).await.map_err(unreachable),
            Dispatch::Mail(mail) => match tokio::time::timeout(self.timeout, self.mail(*mail)).await {
                Ok(sent) => sent.map_err(unreachable),
                Err(_) => Err(unreachable(LATE.into())),
            },
            Dispatch::Command(command) => {
                self.run(command).await.map_err(|error| NotifierReason::CommandNotRun { error })
            }
        }
    }

    /// Whether what would carry this is there: the server of an address, the mail server (which is greeted and not
    /// logged in to), the program. Sends nothing of it, and nothing that the notifier's owner would see.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn reach(&self, dispatch: Dispatch) -> Result<(), NotifierReason> {
        match dispatch {
            Dispatch::Http(request) => {
                let root = |(scheme, authority)| format!("{scheme}://{authority}/");
                // What stands before an @ may be a secret.
                let host = |authority: &str| authority.rsplit('@').next().unwrap_or_default().to_owned();
                let uri = request.uri();
                let root = uri.scheme_str().zip(uri.authority().map(|authority| host(authority.as_str()))).map(root);
                let head = http::Request::head(root.unwrap_or_default()).body(Vec::new());
                let head = head.map_err(|error| unreachable(error.to_string()))?;
                self.request(head).await.map(drop).map_err(unreachable)
            }
            Dispatch::Mail(mail) => {
                let server = self.mail_server(Mail { login: None, ..*mail }).map_err(unreachable)?;
                match tokio::time::timeout(self.timeout, server.0.test_connection()).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(unreachable(innermost(error))),
                    Err(_) => Err(unreachable(LATE.into())),
                }
            }
            Dispatch::Command(command) => {
                let missing = |error: String| NotifierReason::CommandNotRun { error };
                find_program(&self.directory, &command.program).map_err(missing)
            }
        }
    }

    async fn request(&self, request: http::Request<Vec<u8>>) -> Result<Reply, String> {
        let client = self.http.as_ref().map_err(Clone::clone)?;
        let mut request = reqwest::Request::try_from(request).map_err(cause)?;
        *request.timeout_mut() = Some(self.timeout);
        let mut response = client.execute(request).await.map_err(cause)?;
        let (body, _) = transport::body(&mut response, BODY).await.map_err(cause)?;
        Ok(Reply { status: response.status().as_u16(), body })
    }

    /// The way to a mail server, and the mail.
    fn mail_server(&self, mail: Mail) -> Result<(AsyncSmtpTransport<Tokio1Executor>, lettre::Message), String> {
        let tls = match mail.tls {
            Tls::None => client::Tls::None,
            Tls::Implicit => client::Tls::Wrapper(trusted(&mail.host).map_err(innermost)?),
            Tls::Starttls => client::Tls::Required(trusted(&mail.host).map_err(innermost)?),
        };
        let mut server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(mail.host)
            .port(mail.port)
            .tls(tls)
            .timeout(Some(self.timeout));
        if let Some((name, password)) = mail.login {
            server = server.credentials(Credentials::new(name, password.expose().to_owned()));
        }
        Ok((server.build(), mail.message))
    }

    async fn mail(&self, mail: Mail) -> Result<Reply, String> {
        let (server, message) = self.mail_server(mail)?;
        match server.send(message).await {
            Ok(taken) => Ok(Reply { status: taken.code().into(), body: taken.message().collect::<String>().into() }),
            Err(error) => match error.status() {
                Some(code) => Ok(Reply { status: code.into(), body: innermost(error).into() }),
                None if error.is_timeout() => Err(LATE.into()),
                None => Err(innermost(error)),
            },
        }
    }

    async fn run(&self, command: Command) -> Result<Reply, String> {
        // A bare name is looked for in PATH; `join` leaves an absolute path alone.
        let is_path = command.program.components().count() > 1;
        let program = if is_path { self.directory.join(&command.program) } else { command.program };
        let environment = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut child = tokio::process::Command::new(program)
            .args(&command.args)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| error.to_string())?;
        let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        let ended = tokio::time::timeout(self.timeout, converse(&mut child, &command.input)).await;
        if let (Err(_), Some(group)) = (&ended, group) {
            // What it has started must not go on either. An error means that all of it is gone already.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = child.wait().await;
        }
        match ended {
            Ok(reply) => reply.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it was ended after {} s", self.timeout.as_secs_f32())),
        }
    }
}

/// Whether a program is there that this user may run; a bare name is looked for in `PATH`.
fn find_program(directory: &Path, program: &Path) -> Result<(), String> {
    let may_run = |path: &Path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).map_err(std::io::Error::from);
    if program.components().count() > 1 {
        return may_run(&directory.join(program)).map_err(|error| error.to_string());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).any(|folder| may_run(&folder.join(program)).is_ok()) {
        true => Ok(()),
        false => Err(std::io::Error::from(rustix::io::Errno::NOENT).to_string()),
    }
}

/// What is said when the timeout has passed.
const LATE: &str = "no answer in time";

fn unreachable(error: String) -> NotifierReason {
    NotifierReason::Unreachable { error }
}

/// Gives a program its input and waits for its end.
async fn converse(child: &mut Child, input: &[u8]) -> std::io::Result<Reply> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let give = async move {
        if let Some(mut stdin) = stdin {
            // A program that does not want it may end before it has read it all.
            let _ = stdin.write_all(input).await;
        }
    };
    let listen = async move {
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            let mut stderr = stderr.take(BODY as u64);
            stderr.read_to_end(&mut said).await?;
            // What is too much to keep is still taken from it, or it would wait for us.
            tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await?;
        }
        Ok::<_, std::io::Error>(said)
    };
    let ((), body, status) = tokio::join!(give, listen, child.wait());
    Ok(Reply { status: code(status?), body: body? })
}

/// An exit status as shells count: 128 and the signal's number where one ended the program.
fn code(status: ExitStatus) -> u16 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u16::try_from(code).ok()).unwrap_or(u16::MAX)
}

/// TLS with the same roots as everything else.
fn trusted(host: &str) -> Result<TlsParameters, smtp::Error> {
    let mut tls = TlsParameters::builder(host.to_owned()).certificate_store(CertificateStore::None);
    for root in transport::roots() {
        tls = tls.add_root_certificate(Certificate::from_der(root.to_vec())?);
    }
    tls.build_rustls()
}

/// The innermost cause of a failed request, without the address, which may hold a secret.
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return LATE.into();
    }
    innermost(error.without_url())
}

/// The words of the innermost cause.
fn innermost(error: impl Error) -> String {
    let mut innermost: &dyn Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command { program: "sh".into(), args: vec!["-c".into(), script.into()], input: b"{\"title\":\"t\"}\n".to_vec() }
    }

    fn carriers(timeout: Duration) -> Carriers {
        Carriers { http: Err("none here".into()), timeout, directory: "/".into() }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_command_reads_the_message_and_says_how_it_ended() {
        for (script, status, said) in [
            ("cat >&2", 0, "{\"title\":\"t\"}\n"),
            ("echo no route >&2; exit 3", 3, "no route\n"),
            ("kill -TERM $$", 143, ""),
            ("exec <&-; true", 0, ""),
        ] {
            let reply = carriers(LONG).run(shell(script)).await.unwrap();
            assert_eq!((reply.status, String::from_utf8(reply.body).unwrap().as_str()), (status, said), "{script}");
        }
    }

    #[tokio::test]
    async fn a_command_finds_no_secret_in_its_environment_and_its_path_from_the_configs_directory() {
        let command = Command {
            program: "usr/bin/env".into(),
            args: vec!["sh".into(), "-c".into(), "env >&2".into()],
            input: vec![],
        };
        let reply = carriers(LONG).run(command).await.unwrap();
        let environment = String::from_utf8(reply.body).unwrap();
        let names = environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
        // The shell adds the last three.
        let known = |name: &&str| ENVIRONMENT.contains(name) || ["PWD", "SHLVL", "_"].contains(name);
        let others: Vec<&str> = names.filter(|name| !known(name)).collect();
        assert!(others.is_empty() && environment.contains("PATH="), "{environment}");
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended_with_all_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        // The grandchild holds the pipe's other end for as long as it lives.
        let script = format!("sleep 600 > {} & wait", pipe.display());
        let carriers = carriers(Duration::from_millis(300));
        let (reader, writer) = tokio::join!(
            async { tokio::task::spawn_blocking(move || std::fs::read(pipe)).await.unwrap() },
            carriers.run(shell(&script)),
        );
        assert_eq!(writer.unwrap_err(), "it was ended after 0.3 s");
        assert_eq!(reader.unwrap(), b"");
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_or_talks_too_much_is_no_trouble() {
        let missing = Command { program: "/nowhere/at/all".into(), args: vec![], input: vec![] };
        assert!(carriers(LONG).run(missing).await.unwrap_err().contains("No such file"));
        let reply = carriers(LONG).run(shell("head -c 1000000 /dev/zero >&2")).await.unwrap();
        assert_eq!((reply.status, reply.body.len()), (0, BODY));
    }

    #[tokio::test]
    async fn an_unreachable_mail_server_is_told_without_its_address() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let message = lettre::Message::builder()
            .from("a@b.c".parse().unwrap())
            .to("d@e.f".parse().unwrap())
            .body(String::new())
            .unwrap();
        for tls in [Tls::None, Tls::Starttls, Tls::Implicit] {
            let mail = Mail { host: "localhost".into(), port, tls, login: None, message: message.clone() };
            let refused = carriers(LONG).carry(Dispatch::Mail(Box::new(mail))).await.unwrap_err();
            let NotifierReason::Unreachable { error } = refused else { panic!("{refused:?}") };
            assert!(error.contains("refused") && !error.contains("localhost"), "{error}");
        }
    }
}
