//! The config file in Chinese. Place and field stand before each sentence already.

use super::list;
use crate::messages::Message;
use crate::reason::ConfigReason;

pub(super) fn explain(reason: &ConfigReason) -> Message {
    match reason {
        ConfigReason::NotFound { looked_in } => Message::new(
            format!("找不到配置文件，已查找：{}。", list(looked_in)),
            "请在其中一处创建（`sidecar.toml.example` 列出了全部字段），或用 `--config FILE` 指定。",
        ),
        ConfigReason::Unreadable { path, error } => Message::new(
            format!("无法读取配置文件 {path}：{error}。"),
            format!("请检查路径和读取权限：`ls -l {path}`。"),
        ),
        ConfigReason::Syntax { detail } => {
            Message::new(format!("这不是合法的 TOML：{detail}。"), "请改正此处；文本要写在英文双引号里。")
        }
        ConfigReason::UnknownKey { key, nearest, known } => Message::new(
            format!("这里没有 `{key}` 这个字段。"),
            match nearest {
                Some(nearest) => format!("是不是想写 `{nearest}`？"),
                None => format!("请删除它，或使用其中之一：{}。", list(known)),
            },
        ),
        ConfigReason::MisplacedKey { key, belongs } => {
            Message::new(format!("`{key}` 不应写在这里。"), format!("请移到{}。", place(belongs)))
        }
        ConfigReason::WrongType { expected, found } => Message::new(
            format!("这里应当是{}，写的却是{}。", kind(expected), kind(found)),
            format!("请写成{}。", kind(expected)),
        ),
        ConfigReason::MissingField { field } => Message::new(
            format!("缺少 `{field}`。"),
            format!("请加上 `{field} = …`；`sidecar.toml.example` 列出了全部字段。"),
        ),
        ConfigReason::NotOneOf { found, expected, nearest } => Message::new(
            match found {
                Some(found) => format!("`{found}` 不是可用的值，可用的有：{}。", list(expected)),
                None => format!("这不是可用的值，可用的有：{}。", list(expected)),
            },
            match nearest {
                Some(nearest) => format!("是不是想写 `\"{nearest}\"`？"),
                None => "请写其中之一，并加英文双引号。".into(),
            },
        ),
        ConfigReason::BadDuration => {
            Message::new("这不是合法的时长。", "请写成 \"90s\"、\"10m\" 或 \"1h 30m\" 这样的形式。")
        }
        ConfigReason::OutOfRange { bounds } => {
            Message::new(format!("取值超出范围，应满足：{bounds}。"), "请改正这个值。")
        }
        ConfigReason::BareSecret { env } => Message::new(
            "机密不能直接写成文本，要用一个表说明它在哪里。",
            match env {
                Some(name) => format!("请写 {{ env = \"{name}\" }}。"),
                None => "请写 { env = \"NAME\" }、{ file = \"…\" }、{ keyring = \"…\" } 或 { systemd_credential = \
                         \"…\" }；一定要写在本文件中时：{ value = \"…\" }。"
                    .into(),
            },
        ),
        ConfigReason::SecretSources => Message::new(
            "一个机密只能有一个来源。",
            "请在表中只保留 `env`、`file`、`keyring`、`systemd_credential`、`value` 之一。",
        ),
        ConfigReason::BadUrl { detail } => {
            Message::new(format!("这个地址不能使用：{detail}。"), "请写完整的地址，例如 \"https://host/path\"。")
        }
        ConfigReason::BadDatabase { detail } => Message::new(
            format!("这不是可用的数据库地址：{detail}。"),
            "请按网关的 SQL_DSN 书写：\"user:password@tcp(host:3306)/database\" 或 \
             \"postgres://user:password@host:5432/database\"；最好写 `{ env = \"SQL_DSN\" }`。SQLite 则写文件路径。",
        ),
        ConfigReason::PlainHttp => Message::new(
            "用明文 http 传输，机密会在途中被看到。",
            "请改用 https://；只有本机（localhost、127.0.0.1、[::1]）可以用 http://。",
        ),
        ConfigReason::BadName => Message::new("名称只能由 a-z、0-9、`.`、`_` 和 `-` 组成。", "请换一个这样的名称。"),
        ConfigReason::Duplicate { what, first_line } => {
            Message::new(format!("{what} 出现了两次，第一次在第 {first_line} 行。"), "请删除其中一个，或改名。")
        }
        ConfigReason::UnknownGateway { name, known } => Message::new(
            format!("没有名为 `{name}` 的网关。"),
            format!("请使用其中之一：{}；或添加一个 `[[gateway]]`。", list(known)),
        ),
        ConfigReason::GatewayNeeded { known } => Message::new(
            "有多个网关时，每个渠道都要写明属于哪个网关。",
            format!("请写 {{ gateway = \"…\", id = … }}，网关为其中之一：{}。", list(known)),
        ),
        ConfigReason::VaultPathNeeded => Message::new(
            "有多个网关时，保管库没有默认位置。",
            "请在 `[vault]` 中设置 `path`，例如 \"/data/one-api-sidecar/vault.db\"。",
        ),
        ConfigReason::VaultPathBesideServer => Message::new(
            "网关的数据库在服务器上，保管库没有默认位置。",
            "请在 `[vault]` 中把 `path` 设为一个持久的文件，例如 \"/data/one-api-sidecar/vault.db\"；\
             或用 `url` 也放进数据库服务器（docs/two-hosts.md）。",
        ),
        ConfigReason::BadVaultUrl { detail } => Message::new(
            format!("这不是可用的数据库服务器地址：{detail}。"),
            "请写成 \"postgres://用户:密码@主机:5432/数据库\"、\"mysql://用户:密码@主机:3306/数据库\" \
             或 \"用户:密码@tcp(主机:3306)/数据库\"。",
        ),
        ConfigReason::VaultKeyNeeded => Message::new(
            "放在数据库服务器里的保管库必须设置 `encryption_key`：否则服务器管理员、备份和副本都能读到全部令牌。",
            "请用 `one-api-sidecar vault keygen` 生成密钥，并在 `[vault]` 中设置 `encryption_key = { env = \"…\" }`；\
             每台主机使用同一个密钥。",
        ),
        ConfigReason::BadTemplate { detail } => Message::new(
            format!("这个模板无法填充：{detail}。"),
            "可用 {access_token}、{id_token}、{expires_at}，或指向应答内容的 {/account/id} 这样的指针；\
             花括号本身写作 {{ 或 }}。",
        ),
        ConfigReason::BadBody { detail } => Message::new(
            format!("这个 body 无法发送：{detail}。"),
            "请用 '''三个引号''' 写一段 JSON，在其中的文本里使用 {title}、{body}、{urgent} 或 {events}，例如 \
             '''{\"text\": \"{title}\"}'''；文本中的花括号本身写作 {{ 或 }}。",
        ),
        ConfigReason::BadMailAddress => {
            Message::new("这不是邮件地址。", "请写成 \"ops@example.com\" 或 \"One-API <sidecar@example.com>\" 的形式。")
        }
        ConfigReason::BadPointer => Message::new("这不是 JSON 指针。", "请以 `/` 开头，例如 \"/data/access_token\"。"),
        ConfigReason::BadHeader => {
            Message::new("HTTP 不允许这样的请求头。", "名称只能用字母、数字和 `-`；值必须是一行 ASCII 文本。")
        }
        ConfigReason::BadKey => {
            Message::new("加密密钥必须是恰好 32 字节的 base64。", "可以用 `one-api-sidecar vault keygen` 生成一个。")
        }
        ConfigReason::TimeoutOrder => Message::new(
            "`timeout` 包含整个请求，必须大于 `connect_timeout`。",
            "请调大 `timeout` 或调小 `connect_timeout`。",
        ),
        ConfigReason::BackoffOrder => Message::new("`backoff.min` 大于 `backoff.max`。", "请调小 `min` 或调大 `max`。"),
        ConfigReason::OwnTokenUrl { preset, form } => Message::new(
            format!("预设 `{preset}` 不含 `token_url`：每个客户都有自己的地址。"),
            format!("请加上它，形式为 `token_url = \"{form}\"`。"),
        ),
        ConfigReason::Needs { field, other } => Message::new(
            format!("没有 `{other}` 时 `{field}` 不起作用。"),
            format!("请加上 `{other}`，或删除 `{field}`。"),
        ),
        ConfigReason::Conflicts { field, other } => {
            Message::new(format!("`{field}` 不能与 `{other}` 同时使用。"), "请删除其中一个。")
        }
        ConfigReason::NotInThisBuild { what, feature } => Message::new(
            format!("这个程序构建时没有包含：{what}。"),
            format!("请使用普通的构建，或带上该特性自行构建：`cargo build --release --features {feature}`。"),
        ),
        ConfigReason::UnknownService { name, nearest, known } => Message::new(
            format!("没有 `{name}` 这种通知类型。"),
            match nearest {
                Some(nearest) => format!("是不是想写 `\"{nearest}\"`？"),
                None => format!("请使用其中之一：{}。", list(known)),
            },
        ),
        ConfigReason::ValueReadableByOthers { mode } => Message::new(
            format!("本文件中写有机密，而其他用户可以读取它（权限 {mode}）。"),
            "请对它执行 `chmod 600`，或把机密移出去：{ env = \"…\" } 或 { file = \"…\" }。",
        ),
        ConfigReason::SingleFileMount => Message::new(
            "配置文件是以单个文件挂载的：在宿主机上替换文件式的修改不会传到这里。",
            "请挂载它所在的目录：在 compose 中写 `volumes: [\"./sidecar:/etc/one-api-sidecar:ro\"]`。",
        ),
    }
}

/// `belongs` is a table's name, or the one place without a name.
fn place(belongs: &str) -> String {
    match belongs {
        "above the first [table]" => "第一个 [table] 之前".into(),
        table if table.starts_with('[') => format!(" `{}` 中", table.replace(", ", "` 或 `")),
        other => format!(" {other}"),
    }
}

/// The reader's words for types, where they are known.
fn kind(words: &str) -> String {
    let known = match words {
        "text" => "文本",
        "a whole number" => "整数",
        "a number" => "数字",
        "true or false" => " true 或 false ",
        "a date" => "日期",
        "a list" | "a list in [ ]" => "列表 [ ]",
        "a table" => "表 { }",
        "a path in quotes" => "加引号的路径",
        "a length of time in quotes, like \"90s\" or \"1h 30m\"" => "加引号的时长，例如 \"90s\" 或 \"1h 30m\"",
        "a table that says where the secret is, like { env = \"NAME\" }" => {
            "说明机密在哪里的表，例如 { env = \"NAME\" }"
        }
        "text, or a table that says where the secret is" => "文本，或说明机密在哪里的表",
        other => return format!(" {other} "),
    };
    known.to_owned()
}
