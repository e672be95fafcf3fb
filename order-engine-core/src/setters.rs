//! Setters of public fields, for structs that may grow.

/// Makes a setter of each field.
macro_rules! setters {
    (impl $options:ident { $($setter:ident sets $field:ident: $type:ty;)* }) => {
        impl $options {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $setter(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
pub(crate) use setters;
