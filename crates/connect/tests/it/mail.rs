//! A place for notes in this process.

use model::door::mail::Mail;
use tidegate_connect::mail::HostedMail;

#[expect(clippy::needless_pass_by_value, reason = "the suite gives cases away")]
fn hosted(case: impl AsyncFn(&dyn Mail), _: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(case(&HostedMail::default()));
}

model::mail_conformance! { hosted }

#[test]
fn what_cannot_be_a_key_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mail = HostedMail::default();
        for key in ["", "a.b", "a.b.c.d", "a..c", "a.b.c d", "a.b.*"] {
            assert!(mail.put(key, "x".into()).await.is_err(), "{key:?}");
        }
        assert!(mail.watch("a.*").await.is_err());
        assert_eq!(mail.list("a"), Vec::<String>::new());
    });
}
