//! The vault in Chinese.

use crate::messages::Message;
use crate::reason::VaultReason;

pub(super) fn explain(reason: &VaultReason) -> Message {
    match reason {
        VaultReason::Directory { path, error } => Message::new(
            format!("无法创建或写入保管库所在的目录 {path}：{error}。"),
            format!(
                "请创建该目录并交给运行 sidecar 的用户：`mkdir -p {path}`、`chown UID:GID {path}`；\
                 或在 `[vault]` 中用 `path` 另选位置。"
            ),
        ),
        VaultReason::Owned { holder } => Message::new(
            format!("保管库正被另一个进程使用：{holder}。"),
            "交给它处理即可，或先停掉它。两个 sidecar 不能共用一个保管库。",
        ),
        VaultReason::NotAVault { path } => Message::new(
            format!("{path} 不是本程序的保管库，未作任何改动。"),
            "请让 `[vault]` 中的 `path` 指向保管库，或指向一个尚不存在的文件。",
        ),
        VaultReason::Newer { found, known } => Message::new(
            format!("保管库由更新的版本写成（格式 {found}，本版本最高支持 {known}），未作任何改动。"),
            format!(
                "请重新使用更新的版本；使用 compose 时把镜像标签改回去。若要停留在本版本，请停止 sidecar，\
                 用升级时留在保管库旁边的副本（`vault.db.schema-{known}.bak`）替换它；此后轮换过的刷新令牌不在其中。"
            ),
        ),
        VaultReason::Older { found, known } => Message::new(
            format!("保管库由较旧的版本写成（格式 {found}，本版本写格式 {known}）。"),
            "请启动代理 `one-api-sidecar run`：它会升级保管库，并在旁边保留原来的副本。",
        ),
        VaultReason::Damaged { path, error } => Message::new(
            format!("保管库 {path} 已损坏：{error}。未作任何改动。"),
            "请停止 sidecar，先把该文件另存一份，再恢复备份。没有备份时：`one-api-sidecar vault reset`，\
             然后重新授权每个凭据。",
        ),
        VaultReason::WrongKey { configured: true } => Message::new(
            "保管库是用另一个密钥加密的，与配置的不符。未作任何改动。",
            "请把当初加密所用的密钥放回 `[vault]` 中的 `encryption_key`。",
        ),
        VaultReason::WrongKey { configured: false } => Message::new(
            "保管库已加密，但没有配置密钥。未作任何改动。",
            "请把 `[vault]` 中的 `encryption_key` 设为当初加密所用的密钥：{ env = \"…\" } 或 { file = \"…\" }。",
        ),
        VaultReason::Full { path } => Message::new(
            format!("磁盘已满，无法写入保管库 {path}。"),
            "请腾出空间：`df -h`、`docker system df`。在能写入之前不会刷新任何令牌；之后会自动继续。",
        ),
        VaultReason::Unwritable { path, error } => Message::new(
            format!("无法写入保管库 {path}：{error}。"),
            "请检查文件属主和挂载（`ls -ln`、`findmnt -T`）以及磁盘（`dmesg`）。在能写入之前不会刷新任何令牌；\
             之后会自动继续。",
        ),
        VaultReason::ReadableByOthers { path, mode } => Message::new(
            format!("其他用户可以读取 {path}（权限 {mode}），而里面存有令牌。"),
            format!("请收紧权限：`chmod go-rwx {path}`。"),
        ),
        VaultReason::Missing { path } => Message::new(
            format!("{path} 处还没有保管库。"),
            "请启动 sidecar：`one-api-sidecar run` 会创建它。若以前运行过，请检查 `[vault]` 中的 `path`。",
        ),
        VaultReason::Gone { path } => Message::new(
            format!("保管库 {path} 不见了或是空的，但这里曾经有过；配置中的刷新令牌已被用过。"),
            "请把保管库放回去，必要时从备份恢复。没有备份时：`one-api-sidecar vault reset`，然后重新授权每个凭据。",
        ),
        VaultReason::ReadOnly { path } => Message::new(
            format!("运行 sidecar 的用户只能读取保管库 {path}。未作任何改动。"),
            format!("请允许写入：`chmod u+w {path}`；若它的挂载是只读的（`findmnt -T {path}`），请改为 `rw`。"),
        ),
        VaultReason::OtherOwner { path, owner, us } => Message::new(
            format!("保管库 {path} 属于用户 {owner}，而 sidecar 以用户 {us} 运行。未作任何改动。"),
            format!(
                "请以用户 {owner} 运行 sidecar（compose 中的 `user:`、systemd 单元中的 `User=`、`sudo -u '#{owner}'`），\
                 或把保管库及其旁边的文件交给它：`chown {us} {path}`。"
            ),
        ),
        VaultReason::Filesystem { path, name } => Message::new(
            format!("保管库 {path} 位于 {name} 上，那里的锁跨机器无效：两个 sidecar 可能用掉同一个刷新令牌。"),
            "请把它放到本地磁盘：修改 `[vault]` 中的 `path`；用 Docker 时放到命名卷，而不是 Docker Desktop 共享的目录。\
             `allow_filesystem` 只用于网关，保管库没有例外。",
        ),
        VaultReason::Fleeting { path, filesystem } => Message::new(
            match filesystem.as_str() {
                "overlay" => format!("保管库 {path} 位于容器自身的层上，会随容器一起丢失。"),
                _ => format!("保管库 {path} 位于内存中（{filesystem}），停机后会丢失。"),
            },
            "请把它放到卷上：其中的刷新令牌无法再次取得。请修改 `[vault]` 中的 `path`，或在它的目录上挂载卷。",
        ),
        VaultReason::ServerAway { server, error } => Message::new(
            format!("连不上保管库所在的数据库服务器 {server}：{error}。"),
            "请确认该服务器在运行，且本机能连到它。在此之前不会刷新任何凭据，其间收到的应答保存在内存中；恢复后会自动继续。",
        ),
        VaultReason::ServerRefused { server, error } => Message::new(
            format!("保管库所在的数据库服务器 {server} 拒绝了请求：{error}。"),
            "请检查用户及其权限（对保管库所在数据库或模式的 CREATE、SELECT、INSERT、UPDATE、DELETE），\
             并确认该地址指向可写的服务器，而不是副本或连接池。",
        ),
        VaultReason::Displaced { holder } => Message::new(
            format!("保管库现在属于另一个进程：{holder}。"),
            "无需处理：本进程转为待命，对方结束时会接手。",
        ),
        VaultReason::ThreadEnded => Message::new(
            "写入保管库的线程中途停止：这是程序缺陷。",
            "保管库会自动重新打开；其间收到的应答在此之前保存在内存中。请报告此行之前的日志。",
        ),
        VaultReason::ServerGone { server, missing } => Message::new(
            format!("{server} 中的保管库不完整：{missing} 不见了。未作任何改动。"),
            "请恢复所有名为 one_api_sidecar_… 的表的备份。没有备份时：停止所有 sidecar，删除这些表，然后重新授权每个凭据。",
        ),
        VaultReason::ServerLax { server, setting } => Message::new(
            format!("断电时 {server} 可能丢失最后提交的内容：{setting}。"),
            "请设置 `fsync = on` 和 `synchronous_commit = on`（PostgreSQL），或 `innodb_flush_log_at_trx_commit = 1`\
             （MySQL）：丢失的 refresh token 无法找回。",
        ),
        VaultReason::ServerReset { server } => Message::new(
            format!("本程序不会搁置 {server} 中的保管库：那些表可能是另一台主机的记忆。"),
            "请停止使用它的所有 sidecar，再到该数据库中重命名或删除名为 one_api_sidecar_… 的表。之后每个凭据都要重新授权。",
        ),
        VaultReason::Unconfirmed { path } => Message::new(
            format!("没有了保管库 {path}，每个凭据都要重新授权：配置中的刷新令牌已被用过。"),
            "确实要这样做时：`one-api-sidecar vault reset --yes`。保管库会另存，不会删除。",
        ),
    }
}
