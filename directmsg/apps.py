from django.apps import AppConfig


class DirectMsgConfig(AppConfig):
    name = "directmsg"
    verbose_name = "Direct mail"
