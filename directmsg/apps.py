from django.apps import AppConfig


class DirectMsgConfig(AppConfig):
    name = "directmsg"
    verbose_name = "Direct mail"

    def ready(self) -> None:
        from healthvault.outbox import outcomes

        from . import notify, parcels

        outcomes.register(notify.PARCEL, parcels.on_notification)
