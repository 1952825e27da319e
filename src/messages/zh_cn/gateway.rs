//! Gateways and their channels in Chinese.

use super::list;
use crate::messages::Message;
use crate::reason::{ApiFailure, ChannelReason, GatewayReason};

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
            "请确认 `[gateway]` 中的 `database` 是 One-API 或 New API 的数据库。",
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
        GatewayReason::Api { failure } => api(failure),
        GatewayReason::ApiOfOneApi => Message::new(
            "无论管理接口收到什么，One-API 在下次重新加载之前都继续使用内存中的密钥；在此期间被旧密钥禁用的渠道会被反复重新启用。",
            "让 sidecar 直接写数据库（`[gateway]` 中的 `database`），或关闭网关的内存缓存（`MEMORY_CACHE_ENABLED=false`，且不用 Redis），\
             或更早刷新（`refresh_before`）。",
        ),
        GatewayReason::Unused { path } => Message::new(
            format!("一天以来除了 sidecar 没有人写过 {path}：网关用的似乎是另一个数据库。"),
            "请把 `[gateway]` 中的 `database` 与网关自己的设置对照：它的卷，以及 SQL_DSN 或 SQLITE_PATH。",
        ),
        GatewayReason::NoAddress { secret } => {
            let message = super::secret::explain(secret);
            Message::new(format!("无法读取网关数据库的地址。{}", message.what), message.remedy)
        }
        GatewayReason::AddressMeansSqlite { from } => Message::new(
            format!("{from} 为空或以 `local` 开头：此时网关使用 SQLite，而不是数据库服务器。"),
            "若网关用的是 SQLite，请写它的文件：`database = \"/data/one-api.db\"`。若用的是服务器，请让 sidecar 与网关\
             使用同一个 SQL_DSN（在 compose 中写在两者的 `environment:` 下）。",
        ),
        GatewayReason::BadAddress { from, detail } => Message::new(
            format!("{from} 中的内容不是可用的数据库地址：{detail}。"),
            "请按网关的 SQL_DSN 书写：`user:password@tcp(host:3306)/database` 或 \
             `postgres://user:password@host:5432/database`。",
        ),
        GatewayReason::Unreachable { at, error } => Message::new(
            format!("网关数据库 {at} 没有响应：{error}。"),
            "会自动重试，密钥会等着。若一直如此：服务器是否在运行？sidecar 能否解析它的主机名（compose 中要在同一网络）？",
        ),
        GatewayReason::ConnectionLost { at } => {
            Message::new(format!("与网关数据库 {at} 的连接中断了。"), "无需处理：会重新连接，并查看上一次写入的结果。")
        }
        GatewayReason::AccessDenied { at, user } => Message::new(
            format!("网关数据库 {at} 拒绝用户 `{user}` 登录。"),
            "请检查 `database` 中的用户名和密码，以及服务器是否允许该用户从 sidecar 的地址登录（MySQL：`'user'@'%'`；\
             PostgreSQL：`pg_hba.conf`）。只接受 TLS 的 MariaDB 也会这样回答：`?tls=skip-verify`。环境变量只在启动时读取：\
             请执行 `docker compose up -d`。",
        ),
        GatewayReason::UnknownDatabase { at } => Message::new(
            format!("{at} 的服务器上没有这个数据库，或该用户无权使用。"),
            "请改正 `database` 中的数据库名：网关自己的 SQL_DSN 里有。",
        ),
        GatewayReason::TlsRequired { at } => Message::new(
            format!("{at} 的服务器只接受 TLS 连接。"),
            "请在地址后加上 `?tls=skip-verify` 或 `?tls=true`（MySQL），或 `?sslmode=require`、`verify-full`（PostgreSQL）。",
        ),
        GatewayReason::TlsFailed { at, error } => Message::new(
            format!("无法与 {at} 建立 TLS 连接：{error}。"),
            "证书要写有这个主机名，签发机构要为 sidecar 所信任（SSL_CERT_FILE，PostgreSQL 也可用 `sslrootcert=`）；\
             不接受 X.509 第 1 版的证书。在自己的网络中可用 `tls=skip-verify`、`sslmode=require`，或不用 TLS。",
        ),
        GatewayReason::TooManyConnections { at } => Message::new(
            format!("{at} 的服务器不再接受新的连接。"),
            "会自动重试。sidecar 只需要一个连接：请调大 `max_connections`，或调小网关的 SQL_MAX_OPEN_CONNS。",
        ),
        GatewayReason::ServerReadOnly { at, code } => Message::new(
            format!("{at} 的服务器目前不接受写入（错误 {code}）：它是只读副本，或正在主备切换。"),
            "会用新的连接自动重试。若一直如此，请在 `database` 中写主库。",
        ),
        GatewayReason::NoPrivilege { at, user } => Message::new(
            format!("用户 `{user}` 无权读写 {at} 中的表。"),
            format!(
                "请授予权限：`GRANT SELECT, UPDATE ON channels TO {user}`，`abilities` 同样；或使用网关自己的用户。"
            ),
        ),
        GatewayReason::RowsLocked { at, waited_ms } => Message::new(
            format!("{at} 中的渠道记录被其他程序锁定超过 {waited_ms} 毫秒。"),
            "会自动重试。若反复出现，请查找长事务（`SHOW PROCESSLIST`、`pg_stat_activity`），或调大 `busy_timeout`。",
        ),
        GatewayReason::ServerFull { at } => {
            Message::new(format!("{at} 的服务器磁盘已满。"), "请在那里腾出空间。之后会自动写入密钥。")
        }
    }
}

fn api(failure: &ApiFailure) -> Message {
    match failure {
        ApiFailure::Unreachable { error } => Message::new(
            format!("无法访问网关的管理接口：{error}。"),
            "检查 `[gateway]` 中 `api` 的 `url`，以及网关是否在运行；在 compose 中用服务名。会自动重试。",
        ),
        ApiFailure::Token(reason) => super::secret::explain(reason),
        ApiFailure::Denied => Message::new(
            "网关不认识管理接口的访问令牌。",
            "以管理员身份登录网关网页，在个人设置中生成系统访问令牌，放到 `[gateway]` 中 `api` 的 `token` 所指之处。",
        ),
        ApiFailure::NotAnAdministrator => Message::new(
            "管理接口的访问令牌所属的用户不是管理员。",
            "用管理员身份生成令牌，或在网关网页中把该用户设为管理员。",
        ),
        ApiFailure::WrongUser => Message::new(
            "网关要求说明访问令牌属于谁，而所填的用户不符。",
            "在 `[gateway]` 中 `api` 里写上管理员的编号 `user`；第一个管理员是 1，网关网页的“用户”中可以看到。",
        ),
        ApiFailure::RateLimited => Message::new(
            "网关的管理接口暂时不再接受请求：One-API 的上限是 3 分钟 480 次。",
            "会自动重试。若反复出现，请在网关上调高 `GLOBAL_API_RATE_LIMIT`。",
        ),
        ApiFailure::Refused => Message::new("网关的管理接口拒绝了密钥。", "会自动重试。原因见网关自己的日志。"),
        ApiFailure::NotTheApi { status } => Message::new(
            format!("管理接口地址上应答的不是网关的接口（HTTP {status}）。"),
            "检查 `[gateway]` 中 `api` 的 `url`：填网关网页的地址，不带 `/api`。",
        ),
        ApiFailure::OtherGateway => Message::new(
            "管理接口中没有写入密钥的那个渠道：它似乎属于另一个网关。",
            "检查 `[gateway]` 中 `api` 的 `url`：它必须指向使用这个数据库的网关。",
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
        ChannelReason::Refused => Message::new(
            "网关的管理接口没有接受这个渠道的密钥或状态，也没有给出 sidecar 认识的原因。",
            "每分钟自动重试。原因见网关自己的日志；在网关网页中保存该渠道也可能会显示。",
        ),
        ChannelReason::Conflict => Message::new(
            "在读取与写入之间，渠道的记录被改动了；没有写入。",
            "会重新读取并重试。若一直如此，说明每次写入之前都有别的东西改动它：触发器，或另一个程序。",
        ),
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
