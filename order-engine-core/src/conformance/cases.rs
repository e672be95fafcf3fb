//! The macros that define the cases and the macros that backends call.
//!
//! A case stands in one place: `cases!` defines it, and `suite!` collects the cases of all modules. The
//! compiler reports a module that no suite names, because its macro `collect!` is then unused.

/// Defines the cases of a module as public functions, and a macro `collect!` that hands their names to
/// `suite!`.
///
/// The cases are arguments in round brackets with commas in between: rustfmt formats items in this form of a
/// macro call, and in no other.
macro_rules! cases {
    ($($(#[$doc:meta])+ async fn $case:ident($harness:ident: &impl $trait:ident) $body:block),+ $(,)?) => {
        $(
            $(#[$doc])+
            pub async fn $case($harness: &impl $trait) $body
        )+

        $crate::conformance::cases::cases! { @collect ($) { $($case)+ } }
    };
    // The dollar sign is an argument because a macro cannot write one into a macro that it defines.
    (@collect ($dollar:tt) $cases:tt) => {
        macro_rules! collect {
            ($dollar($dollar state:tt)+) => {
                $crate::conformance::cases::suite! { $dollar($dollar state)+ $cases }
            };
        }
        pub(super) use collect;
    };
}
pub(super) use cases;

/// Defines an exported macro that makes one `#[tokio::test]` of each case of some modules, named
/// `module::case`.
///
/// It calls `collect!` of one module after another, which calls it again with the names of that module's
/// cases.
macro_rules! suite {
    ($(#[$doc:meta])+ $suite:ident: $($module:ident),+ $(,)?) => {
        $crate::conformance::cases::suite! { { $(#[$doc])+ $suite } [$($module)+] [] }
    };
    ($suite:tt [$next:ident $($rest:ident)*] $collected:tt) => {
        $next::collect! { $suite [$($rest)*] $collected $next }
    };
    ($suite:tt $rest:tt [$($collected:tt)*] $module:ident $cases:tt) => {
        $crate::conformance::cases::suite! { $suite $rest [$($collected)* $module $cases] }
    };
    ($suite:tt [] $collected:tt) => {
        $crate::conformance::cases::suite! { @define ($) $suite $collected }
    };
    (
        @define ($dollar:tt) { $(#[$doc:meta])+ $suite:ident } [$($module:ident { $($case:ident)+ })+]
    ) => {
        $(#[$doc])+
        #[macro_export]
        macro_rules! $suite {
            ($dollar harness:expr) => {
                $(
                    mod $module {
                        #[allow(unused_imports)] // The path of a harness may be absolute.
                        use super::*;

                        $(
                            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                            async fn $case() {
                                $crate::conformance::$module::$case(&$dollar harness).await;
                            }
                        )+
                    }
                )+
            };
        }
    };
}
pub(super) use suite;
