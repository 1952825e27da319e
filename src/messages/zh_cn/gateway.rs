//! Gateways and their channels in Chinese.

use super::list;
use crate::messages::Message;
use crate::reason::{ChannelReason, GatewayReason};

pub(super) fn explain(reason: &GatewayReason) -> Message {
    match reason {
        GatewayReason::Missing { path } => Message::new(
            format!("网关数据库 {path} 不存在。"),
            "请先启动一次网关，或改正 `[gateway]` 中的 `database`；使用 compose 时两个容器要挂载同一个卷。\
             文件出现后会自动写入密钥。",
        ),
        GatewayReason::NotMigrated { path } => {
            Message::new(format!("网关数据库 {path} 里还没有表。"), "请先启动一次网关，它会建表。在此之前密钥会等着。")
        }
        GatewayReason::Unknown { missing } => Message::new(
            format!("这个数据库不属于已知的网关，缺少：{}。", list(missing)),
            "请确认 `[gateway]` 中的 `database` 是 One-API 或 New API 的数据库文件。",
        ),
        GatewayReason::OneHub => Message::new(
            "这是 one-hub 的数据库，它不会再次读取写入的内容。",
            "请改用 one-hub 的管理接口：在 `[gateway]` 中写 `api = { … }` 和 `kind = \"one-hub\"`。",
        ),
        GatewayReason::OtherKind { wanted, found } => Message::new(
            format!("配置写的是 `kind = \"{wanted}\"`，但这是 {found} 的数据库。"),
            format!("请改正 `database`，或在 `[gateway]` 中写 `kind = \"{found}\"`（或 `\"auto\"`）。"),
        ),
        GatewayReason::Busy { waited_ms } => Message::new(
            format!("网关数据库被其他程序锁定超过 {waited_ms} 毫秒。"),
            "会自动重试。若反复出现，请找出是哪个备份或程序在使用该文件（`fuser -v FILE`），或调大 `busy_timeout`。",
        ),
        GatewayReason::ReadOnlyFile { path, owner, us } => Message::new(
            format!("数据库 {path} 属于 {owner}，而 sidecar 以 {us} 运行，没有写权限。"),
            format!("请以其属主身份运行 sidecar：在 compose 中写 `user: \"{owner}\"`；或执行 `chown {us} {path}`。"),
        ),
        GatewayReason::ReadOnlyDirectory { path, owner, us } => Message::new(
            format!("目录 {path} 属于 {owner}，而 sidecar 以 {us} 运行，没有写权限；SQLite 需要在这里存放日志文件。"),
            format!("请以其属主身份运行 sidecar：在 compose 中写 `user: \"{owner}\"`；或执行 `chown {us} {path}`。"),
        ),
        GatewayReason::ReadOnlyMount { path } => Message::new(
            format!("{path} 所在的挂载是只读的。"),
            "请去掉 compose 中该卷的 `:ro`，然后执行 `docker compose up -d`。",
        ),
        GatewayReason::HotJournal { path } => Message::new(
            format!("网关崩溃后在 {path} 旁留下了日志文件，而 sidecar 无权回滚。"),
            "请启动一次网关，它会修复数据库；或者给 sidecar 写权限：compose 中的 `user:`，或 `chown`。",
        ),
        GatewayReason::Moved => {
            Message::new("写入过程中数据库文件被替换了。", "无需处理：会重新打开并重试。恢复备份时请先停止网关。")
        }
        GatewayReason::NotADatabase { path } => Message::new(
            format!("{path} 不是 SQLite 数据库。"),
            "请改正 `[gateway]` 中的 `database`：它应是网关的数据库文件，通常叫 `one-api.db`。",
        ),
        GatewayReason::Corrupt { path } => Message::new(
            format!("网关数据库 {path} 已损坏，不会再写入。"),
            format!("请停止网关，用 `sqlite3 {path} \"PRAGMA integrity_check\"` 检查，并恢复备份。"),
        ),
        GatewayReason::Full { path } => Message::new(
            format!("磁盘已满，无法写入 {path}。"),
            "请腾出空间：`df -h`、`docker system df`。之后会自动写入密钥。",
        ),
        GatewayReason::CannotOpen { path, error } => Message::new(
            format!("无法打开网关数据库 {path}：{error}。"),
            format!("请在 sidecar 运行的环境中检查路径和属主：`ls -ln {path}`。"),
        ),
        GatewayReason::Filesystem { name } => Message::new(
            format!("数据库位于 {name} 上，SQLite 的文件锁在那里跨机器不可靠。"),
            format!(
                "请在存放该文件的机器上运行 sidecar，并使用本地卷。若网关与 sidecar 在同一内核上，可以放行：\
                 在 `[gateway]` 中写 `allow_filesystem = [\"{name}\"]`。"
            ),
        ),
        GatewayReason::SharedInode { path } => Message::new(
            format!("{path} 本身是挂载点，或有多个硬链接：它的日志文件会落在别处。"),
            "请挂载目录而不是文件：在 compose 中写 `volumes: [\"./data:/data\"]`，网关也要一样。",
        ),
        GatewayReason::Failed { error } => Message::new(
            format!("密钥未能写入网关数据库：{error}。"),
            "会自动重试。若一直如此，请看看网关自己是否还能写入。",
        ),
        GatewayReason::Unused { path } => Message::new(
            format!("一天以来除了 sidecar 没有人写过 {path}：网关用的似乎是另一个数据库。"),
            "请把 `[gateway]` 中的 `database` 与网关自己的设置对照：它的卷，以及 SQL_DSN 或 SQLITE_PATH。",
        ),
    }
}

pub(super) fn channel(reason: &ChannelReason, id: &str) -> Message {
    match reason {
        ChannelReason::Missing => Message::new(
            "网关中没有这个渠道（或已被删除）。",
            "请用 `one-api-sidecar channels` 查看现有渠道，并改正该凭据的 `channels`。",
        ),
        ChannelReason::Replaced => Message::new(
            "原渠道已被删除，它的 ID 分给了另一个渠道；sidecar 不会动它。",
            format!("若新渠道也要使用这个密钥：`one-api-sidecar adopt {id}`。否则请改正该凭据的 `channels`。"),
        ),
        ChannelReason::NameMatches { name, ids } if ids.is_empty() => Message::new(
            format!("没有名为 `{name}` 的渠道。"),
            "请用 `one-api-sidecar channels` 查看渠道名称，并改正该凭据的 `channels`。",
        ),
        ChannelReason::NameMatches { name, ids } => {
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            Message::new(
                format!("有多个渠道名为 `{name}`：{}。", list(&ids)),
                "请在该凭据的 `channels` 中改用渠道 ID。",
            )
        }
        ChannelReason::Foreign => Message::new(
            "渠道的密钥被他人修改了，sidecar 保持原样。",
            format!("若要重新使用我们的密钥：`one-api-sidecar adopt {id}`。否则请从配置中去掉这个渠道。"),
        ),
        ChannelReason::DisabledByHand => Message::new(
            "渠道已被手动禁用；密钥仍会保持最新，但不会自动启用。",
            "需要它重新提供服务时，请在网关中启用。",
        ),
        ChannelReason::Flapping => Message::new(
            "密钥是新的，网关却反复禁用这个渠道；sidecar 不再自动启用它。",
            "请在网关中测试该渠道：账号额度、模型列表、代理地址。然后在网关中启用。",
        ),
        ChannelReason::DisabledForOtherReason { words } => Message::new(
            format!("网关禁用了这个渠道，原因不在密钥：{words}。"),
            "请先在服务商处解决，再到网关中启用该渠道。",
        ),
        ChannelReason::AbilitiesOff => Message::new(
            "渠道已启用，但它的 abilities 是关闭的：网关不用内存缓存时不会把请求分给它。",
            "请在网关中禁用再启用该渠道。下一次写入新密钥时也会打开，除非 `reenable = \"never\"` 不允许。",
        ),
        ChannelReason::MultiKey => Message::new(
            "这是多密钥渠道，无法只写入一个密钥。",
            "请在 New API 中新建一个单密钥的普通渠道，并写到 `channels` 中。",
        ),
        ChannelReason::SelfRefreshing => Message::new(
            "这类渠道的密钥由网关自己刷新；两边同时刷新会互相用掉对方的令牌。",
            "请从 `channels` 中去掉它，或把它改为其他类型的渠道。",
        ),
        ChannelReason::KeyIgnored { kind } => {
            Message::new(format!("网关会忽略类型为 {kind} 的渠道的密钥。"), "请在 `channels` 中改用其他类型的渠道。")
        }
        ChannelReason::NeedsChannelKey { kind } => Message::new(
            format!("类型为 {kind} 的渠道，密钥不能只是一个访问令牌。"),
            "请写明密钥的组成：`channels = [{ id = …, channel_key = \"…{access_token}…\" }]`。",
        ),
        ChannelReason::UnsafeKey => Message::new(
            "要写入的密钥含有控制字符，没有写入。",
            "请检查 `channel_key` 模板和 `[credential.response]`。",
        ),
        ChannelReason::TemplateField { field } => Message::new(
            format!("`channel_key` 用到了 `{field}`，但服务商的应答中没有它。"),
            "请改正 `channel_key`，或通过 `scope` 申请该字段（`id_token` 需要 `openid`）。",
        ),
        ChannelReason::Conflict => {
            Message::new("在读取与写入之间，渠道的记录被改动了；没有写入。", "无需处理：会重新读取并重试。")
        }
        ChannelReason::ListedTwice { owner } => {
            Message::new(format!("这个渠道已由凭据 `{owner}` 提供密钥。"), "请只在一个凭据的 `channels` 中保留它。")
        }
        ChannelReason::SameDatabase { other } => Message::new(
            format!("该网关与网关 `{other}` 使用的是同一个数据库。"),
            format!("请删除其中一个 `[[gateway]]`，并让它的渠道改用 `{other}`。"),
        ),
        ChannelReason::Released => Message::new(
            "渠道已通过 `release` 交还，sidecar 不会动它。",
            format!("若要重新提供密钥：`one-api-sidecar adopt {id}`。否则请从配置中去掉它。"),
        ),
    }
}
