//! First logins and imports in Chinese.

use super::list;
use crate::messages::Message;
use crate::reason::LoginReason;

pub(super) fn explain(reason: &LoginReason, name: &str) -> Message {
    let again = format!("请用 `one-api-sidecar login {name}` 重试。");
    match reason {
        LoginReason::NoneNeeded { grant } => Message::new(
            format!("`grant_type = \"{grant}\"` 的凭据没有刷新令牌，无需登录。"),
            "请运行 `one-api-sidecar once` 看看现在能否工作。",
        ),
        LoginReason::NoEndpoint { fields } => {
            Message::new("没有写明在哪里登录。", format!("请为该凭据设置其中之一：{}。", list(fields)))
        }
        LoginReason::Unusable { host, status, code } => Message::new(
            match code {
                Some(code) => format!("{host} 拒绝开始登录（`{code}`，HTTP {status}）。"),
                None => format!("{host} 的应答与登录无关（HTTP {status}）。"),
            },
            "请对照服务商的文档检查 `issuer`、`device_authorization_endpoint`、`client_id` 和 `scope`。",
        ),
        LoginReason::OtherIssuer { host } => Message::new(
            format!("应答者不是 {host} 的签发者，未采用其任何内容。"),
            "请改正 `issuer`：必须与服务商元数据中的名称逐字相同。",
        ),
        LoginReason::NoPort { address, error } => Message::new(
            format!("无法在 {address} 等待浏览器：{error}。"),
            "请关闭占用该端口的程序，或在 `params` 的 `redirect_uri` 中换一个端口，或加上 `--paste`。",
        ),
        LoginReason::NotOurs => {
            Message::new("返回的地址不属于这次登录。", format!("请粘贴最后一个页面的完整地址。{again}"))
        }
        LoginReason::Denied => Message::new("登录在服务商处被拒绝。", again),
        LoginReason::TimedOut => Message::new("没有人及时完成登录。", again),
        LoginReason::Refused { code } => Message::new(
            match code {
                Some(code) => format!("服务商拒绝了登录（`{code}`）。"),
                None => "服务商拒绝了登录。".into(),
            },
            "请对照服务商的文档检查 `client_id`、`client_secret`、`scope` 和登记的回调地址。",
        ),
        LoginReason::NoRefreshToken => Message::new(
            "登录成功，但服务商没有给出刷新令牌。",
            "请申请它：多数服务商是在 `scope` 中加 `offline_access`，Google 是在 `authorization_endpoint` 的查询参数中加 \
             `access_type=offline`。",
        ),
        LoginReason::FileUnreadable { path, error } => {
            Message::new(format!("无法读取 {path}：{error}。"), format!("请检查路径和读取权限：`ls -l {path}`。"))
        }
        LoginReason::UnknownFormat { known } => Message::new(
            format!("这个文件不属于任何已知格式：{}。", list(known)),
            "如果它是 JSON，请指出刷新令牌的位置：`--pointer refresh_token=/a/b`。",
        ),
        LoginReason::NothingThere { field, pointer } => Message::new(
            format!("文件在 `{pointer}` 处没有单行文本，而 `{field}` 应在那里。"),
            "请给出 JSON 指针：以 `/` 开头，逐级写出键名。",
        ),
        LoginReason::SeenBefore => Message::new(
            "保管库已见过这个刷新令牌：它正在使用，或已用掉；未做任何改动。",
            format!("`one-api-sidecar status` 会说明 `{name}` 的状态。要获取新的：`one-api-sidecar login {name}`。"),
        ),
        LoginReason::NotKept => Message::new(
            "这次登录得到的刷新令牌未能及时保存，已丢失。",
            format!("请先解决上面所说的问题，再用 `one-api-sidecar login {name}` 重试。"),
        ),
        LoginReason::OtherClient { wanted, found } => Message::new(
            format!("这个刷新令牌是发给客户端 `{found}` 的，而凭据写的是 `{wanted}`。"),
            "刷新令牌只能由它自己的客户端使用：请改正 `client_id`，或用 `--name` 选择凭据。",
        ),
    }
}
