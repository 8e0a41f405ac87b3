# Secrets (an approval's HMAC key, a registry's password) come from Key Vault by workload identity: none is in YAML.

resource "azurerm_key_vault" "this" {
  name                       = "${local.compact}vault"
  resource_group_name        = local.group
  location                   = local.location
  tenant_id                  = data.azurerm_client_config.me.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  purge_protection_enabled   = true
  tags                       = var.tags
}

resource "azurerm_user_assigned_identity" "scorers" {
  name                = "${var.name}-scorers"
  resource_group_name = local.group
  location            = local.location
  tags                = var.tags
}

resource "azurerm_role_assignment" "read_secrets" {
  scope                = azurerm_key_vault.this.id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.scorers.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_federated_identity_credential" "scorers" {
  name                      = "${var.namespace}-default"
  user_assigned_identity_id = azurerm_user_assigned_identity.scorers.id
  audience                  = ["api://AzureADTokenExchange"]
  issuer                    = azurerm_kubernetes_cluster.this.oidc_issuer_url
  subject                   = "system:serviceaccount:${var.namespace}:default"
}
