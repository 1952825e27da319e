//! Secrets' sources in Chinese.

use crate::messages::Message;
use crate::reason::SecretReason;

pub(super) fn explain(reason: &SecretReason) -> Message {
    match reason {
        SecretReason::EnvMissing { name } => Message::new(
            format!("环境变量 `{name}` 未设置或为空，`{name}_FILE` 也是。"),
            format!(
                "请在启动 sidecar 的地方设置 `{name}`（使用 compose 时写在 `environment:` 下，然后 \
                 `docker compose up -d`），或换一种来源：{{ file = \"…\" }}。"
            ),
        ),
        SecretReason::EnvAndFile { name } => Message::new(
            format!("环境变量 `{name}` 和 `{name}_FILE` 同时被设置。"),
            format!("请只保留一个；使用 compose 时再执行 `docker compose up -d`。`{name}_FILE` 里应是文件路径。"),
        ),
        SecretReason::NotText { from } => Message::new(
            format!("{from} 中的机密内容不是 UTF-8 文本。"),
            "请以文本形式重新保存；二进制密钥请用 base64 编码。",
        ),
        SecretReason::FileUnreadable { path, error } => Message::new(
            format!("无法读取机密文件 {path}：{error}。"),
            format!(
                "请确认该文件在 sidecar 运行的环境中存在（使用 compose 时写在 `volumes:` 或 `secrets:` 下），\
                 且运行用户有读取权限：`ls -l {path}`、`chown`。"
            ),
        ),
        SecretReason::Empty { from } => Message::new(format!("{from} 中的机密内容为空。"), "请把值写进去，单独一行。"),
        SecretReason::TooLong { from } => {
            Message::new(format!("{from} 的内容过长，不像是机密。"), "请确认来源是否写对：里面应当只有这个值。")
        }
        SecretReason::KeyringNoEntry { entry } => Message::new(
            format!("密钥环中没有条目 {entry}。"),
            "请以运行 sidecar 的用户存入：`one-api-sidecar secret set NAME`；用 `one-api-sidecar secret list` \
             查看已有条目。",
        ),
        SecretReason::KeyringLocked => Message::new(
            "密钥环已锁定，或尚无默认的密钥集合。",
            "请解锁：登录桌面，或运行 `gnome-keyring-daemon --unlock`。在服务器上请改用其他来源：\
             { env = \"…\" }、{ file = \"…\" } 或 { systemd_credential = \"…\" }。",
        ),
        SecretReason::KeyringAbsent => Message::new(
            "这里没有密钥环：没有 D-Bus 会话，或会话中没有 Secret Service。",
            "在容器或服务器上请改用其他来源：{ env = \"…\" }、{ file = \"…\" } 或 { systemd_credential = \"…\" }。\
             在桌面上请先启动密钥环，再重启 sidecar。",
        ),
        SecretReason::KeyringFailed { error } => Message::new(
            format!("未能从密钥环取得机密：{error}。"),
            "请看看屏幕上是否正在要求输入密码，并试试 `one-api-sidecar secret list`；或改用其他来源：\
             { env = \"…\" } 或 { file = \"…\" }。",
        ),
        SecretReason::NotUnderSystemd { name } => Message::new(
            format!("systemd 没有传入任何凭据（`$CREDENTIALS_DIRECTORY` 未设置），因此缺少 `{name}`。"),
            format!("请在 unit 中加入 `LoadCredential={name}:/path/to/it` 并重启该服务，或改用其他来源。"),
        ),
    }
}
